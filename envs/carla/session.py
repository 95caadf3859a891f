"""Session: everything that the env changes on a CARLA server, so that all of it can be undone on every way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .config import CarlaConfig
from .server import connect, is_timeout

CLEANUP_TIMEOUT_S = 5.0


class Session:
    """Owns the client, the actors it spawned, and what must be restored: world settings, weather, traffic manager.

    `close()` may be called at any time and any number of times; it never raises. The other methods pass on the
    client's RuntimeErrors, see `server_errors`.
    """

    def __init__(self, carla: Any, config: CarlaConfig) -> None:
        self.carla, self.config = carla, config
        self._actors: list[Any] = []
        self._recording = False
        self._synchronous = False
        self.client = connect(carla, config)
        self.world = self.client.get_world()
        self._settings, self._weather = self.world.get_settings(), self.world.get_weather()
        self.road_map = self.world.get_map()
        self.traffic_manager = self.client.get_trafficmanager(config.tm_port)

    def new_episode(self, seed: int, *, label: int) -> None:
        """A world without our actors, in synchronous mode, with everything seeded that CARLA lets be seeded.

        `label` stands in for "{seed}" in the name of the recording.
        """
        self.end_episode()
        self._load_map()
        settings = self.world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = self.config.tick_s
        settings.deterministic_ragdolls = True
        self._synchronous = True
        self.world.apply_settings(settings)
        # Both sides must agree on the mode, or the traffic manager waits for ticks that never come.
        self.traffic_manager.set_synchronous_mode(True)
        self.traffic_manager.set_random_device_seed(seed)
        self.world.set_pedestrians_seed(seed)
        if self.config.recorder is not None:
            self._recording = True
            self.client.start_recorder(self.config.recorder.format(seed=label), True)

    @property
    def town(self) -> str:
        """Name of the map without its folders."""
        return str(self.road_map.name.split("/")[-1])

    def _load_map(self) -> None:
        config = self.config
        if config.town not in (None, self.town):
            self.world = self.client.load_world(config.town, False)
            self.road_map = self.world.get_map()  # costly: the server sends the whole road network
        elif config.reload:
            self.world = self.client.reload_world(False)

    def spawn(self, blueprint: Any, transform: Any, attach_to: Any = None) -> Any | None:
        """A new actor that the session will destroy, None where there is no room."""
        actor = self.world.try_spawn_actor(blueprint, transform, attach_to=attach_to)
        if actor is not None:
            self._actors.append(actor)
        return actor

    def tick(self) -> int:
        """Advance the world by one tick and return its frame number."""
        return int(self.world.tick(self.config.timeout_s))

    def end_episode(self) -> None:
        """Stop the recorder and destroy every actor of ours, sensors and controllers before what carries them."""
        actors, self._actors = self._actors[::-1], []
        recording, self._recording = self._recording, False
        if recording:
            _undo(self.client.stop_recorder)
        for actor in actors:
            if hasattr(actor, "stop") and actor.is_alive:  # sensors and walker controllers
                _undo(actor.stop)
        if actors:
            commands = [self.carla.command.DestroyActor(a) for a in actors]
            _undo(lambda: self.client.apply_batch_sync(commands, False))

    def close(self) -> None:
        """Undo everything. A server that does not answer any more is given up at once."""
        synchronous, self._synchronous = self._synchronous, False
        try:
            self.client.set_timeout(CLEANUP_TIMEOUT_S)
            self.end_episode()
            if synchronous:
                _undo(lambda: self.traffic_manager.set_synchronous_mode(False))
                _undo(lambda: self.world.set_weather(self._weather))
                _undo(lambda: self.world.apply_settings(self._settings))
        except RuntimeError:  # a timeout, or _undo would have gone on: every further request would wait as long
            return


def _undo(request: Callable[[], Any]) -> None:
    """One request of the clean-up; what can not be undone, such as an actor that is gone already, stops no other."""
    try:
        request()
    except RuntimeError as error:
        if is_timeout(error):
            raise
