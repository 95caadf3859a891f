"""Sizes past which a file is refused: far above any real recording, far below what would stall a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a reader accepts at most; a file beyond any of these raises ValueError."""

    file_bytes: int = 256 * 2**20
    xml_bytes: int = 64 * 2**20
    xml_elements: int = 2_000_000
    coordinate_m: float = 1e7
    speed_mps: float = 1e3
    roads: int = 20_000
    road_length_m: float = 1e5
    lane_points: int = 4_000_000
    actors: int = 5_000
    track_samples: int = 5_000_000  # over all actors
    duration_s: float = 24 * 3600.0
    storyboard_entities: int = 300
    storyboard_elements: int = 20_000
    catalog_expansions: int = 2_000
    catalog_depth: int = 16
    expression_chars: int = 1_000


LIMITS = Limits()
