"""The light of an episode as CARLA weather: presets of CARLA's own, and fog on top of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIELDS = (
    "cloudiness",
    "precipitation",
    "precipitation_deposits",
    "wind_intensity",
    "sun_azimuth_angle",
    "sun_altitude_angle",
    "fog_density",
    "fog_distance",
    "fog_falloff",
    "wetness",
    "scattering_intensity",
    "mie_scattering_scale",
    "rayleigh_scattering_scale",
)


@dataclass(frozen=True)
class Light:
    """A preset of carla.WeatherParameters; fog in percent, from `fog_distance_m` on."""

    preset: str
    fog_density: float | None = None
    fog_distance_m: float = 0.0


LIGHTS = {
    "daylight": Light("ClearNoon"),
    "dusk": Light("ClearSunset"),
    "fog": Light("CloudyNoon", fog_density=60.0, fog_distance_m=10.0),
}


def weather_for(carla: Any, light: str) -> Any:
    """carla.WeatherParameters of a light named in LIGHTS."""
    chosen = LIGHTS[light]
    preset = getattr(carla.WeatherParameters, chosen.preset)
    # A copy: the presets are shared objects of the carla package.
    weather = carla.WeatherParameters(**{name: getattr(preset, name) for name in FIELDS})
    if chosen.fog_density is not None:
        weather.fog_density, weather.fog_distance = chosen.fog_density, chosen.fog_distance_m
    return weather
