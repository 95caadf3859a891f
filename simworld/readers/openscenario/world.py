"""The state that a storyboard runs on: entities on a road network, the clock, and parameters that can change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simworld.readers.contacts import Box
from simworld.readers.notes import Notes
from simworld.readers.opendrive import LanePoint, OpenDriveMap, Pose, Route
from simworld.readers.openscenario.entities import EntitySpec
from simworld.readers.openscenario.trajectories import TrajectoryFollower

ALIGNED_RAD = math.radians(30)  # an entity turned further than this against its lane walks straight on instead
DRIVABLE = ("driving",)
SEEN_M = 0.25


@dataclass
class Entity:
    """One entity as it moves: pose of its reference point, speed along its heading, and what steers it.

    lane        its place in lane coordinates while it follows a lane, else None
    forward     whether it follows the lane towards growing s
    route       roads that it prefers at junctions
    follower    the trajectory that moves it, while one does
    seen        where it was when it was last looked for on the lanes, and what was found
    lateral_mps how fast its offset in the lane grows (left of its heading), for its heading
    """

    spec: EntitySpec
    pose: Pose = Pose(0.0, 0.0, 0.0)
    speed_mps: float = 0.0
    placed: bool = False
    present: bool = False
    lane: LanePoint | None = None
    forward: bool = True
    route: Route | None = None
    follower: TrajectoryFollower | None = None
    lateral_mps: float = 0.0
    travelled_m: float = 0.0
    acceleration_mps2: float = 0.0
    still_s: float = 0.0
    off_road_s: float = 0.0
    end_of_road_s: float = 0.0
    seen: tuple[Pose, LanePoint | None] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    def box(self) -> Box:
        """Its box on the ground."""
        x, y, heading = self.centre()
        return Box(x, y, heading, self.spec.body.length_m, self.spec.body.width_m)

    def centre(self) -> Pose:
        """Pose of the middle of its box."""
        x, y, heading = self.pose
        cos, sin = math.cos(heading), math.sin(heading)
        ahead, left = self.spec.centre_ahead_m, self.spec.centre_left_m
        return Pose(x + ahead * cos - left * sin, y + ahead * sin + left * cos, heading)

    def velocity(self) -> tuple[float, float]:
        """World velocity in m/s."""
        return self.speed_mps * math.cos(self.pose.heading_rad), self.speed_mps * math.sin(self.pose.heading_rad)


@dataclass
class World:
    """Everything that conditions read and actions change.

    carla_frame  the file is written for CARLA: y and angles are mirrored, t and offsets count to the right,
                 conditions latch, and a step in speed lasts as long as its dynamics say
    """

    entities: dict[str, Entity]
    network: OpenDriveMap | None
    notes: Notes
    carla_frame: bool = False
    t_s: float = 0.0
    parameters: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def entity(self, name: str) -> Entity | None:
        """The entity if it is on the road now."""
        found = self.entities.get(name)
        return found if found is not None and found.present else None

    def lane_under(self, entity: Entity) -> LanePoint | None:
        """The lane that it follows, or else the one that it is on or beside; looked up anew only as it moves."""
        if entity.lane is not None or self.network is None:
            return entity.lane
        x, y, heading = entity.pose
        if entity.seen is None or math.hypot(entity.seen[0].x_m - x, entity.seen[0].y_m - y) > SEEN_M:
            entity.seen = entity.pose, self.network.locate(x, y, heading, far_m=10.0)
        return entity.seen[1]

    def attach(self, entity: Entity) -> None:
        """Put a freely placed entity onto the lane below it, if it stands along one."""
        entity.lane = None
        if self.network is None or (self.carla_frame and entity.spec.kind == "pedestrian"):
            return
        x, y, heading = entity.pose
        kinds = DRIVABLE if entity.spec.kind != "pedestrian" else ()
        point = self.network.locate(x, y, heading, kinds=kinds)
        if point is None:
            return
        road = self.network.roads[point.key.road]
        width = road.lane_span(point.key.section, point.key.lane, point.s_m)[1]
        along = road.reference(point.s_m).heading_rad
        foot = self.network.point_pose(point, forward=True)
        beside = abs(point.offset_m) > width / 2 + 1.5 or math.hypot(foot.x_m - x, foot.y_m - y) > 0.5
        if not beside and abs(math.sin(heading - along)) < math.sin(ALIGNED_RAD):
            entity.lane = point
            entity.forward = math.cos(heading - along) >= 0

    def settle(self, entity: Entity) -> None:
        """After a jump: keep the lane it was put on if it stands along it, or else look for the one below it."""
        if entity.lane is None or self.network is None:
            self.attach(entity)
            return
        along = self.network.point_pose(entity.lane, entity.forward).heading_rad
        off = math.cos(entity.pose.heading_rad - along) < math.cos(ALIGNED_RAD)
        if off or (self.carla_frame and entity.spec.kind == "pedestrian"):
            entity.lane = None

    def current_lane(self, entity: Entity) -> LanePoint | None:
        """The lane that holds the entity's reference point; during a lane change not the one it steers for."""
        if entity.lane is None or self.network is None:
            return None
        point = entity.lane
        road = self.network.roads[point.key.road]
        t = self.network.lateral(point)
        for lane in road.sections[point.key.section].lanes:
            centre, width = road.lane_span(point.key.section, lane, point.s_m)
            if abs(t - centre) <= width / 2:
                return LanePoint(point.key._replace(lane=lane), point.s_m, t - centre)
        return point
