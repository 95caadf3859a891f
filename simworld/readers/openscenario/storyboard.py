"""The storyboard as a machine of states: stories of acts, maneuver groups, maneuvers, events and actions."""

from __future__ import annotations

from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.elements import (
    Act,
    ActionRun,
    Clock,
    Element,
    Event,
    Group,
    Happening,
    Performance,
    reset,
)
from simworld.readers.openscenario.triggers import Trigger
from simworld.readers.openscenario.world import Entity, World

# A new action ends those it can't run beside: two that steer the same thing.
_CONFLICTS = {"speed": ("speed",), "lateral": ("lateral", "trajectory"), "trajectory": ("trajectory", "lateral")}


class Storyboard:
    """Steps all elements; answers what state they are in."""

    def __init__(self, stories: list[Group], stop: Trigger | None, clock: Clock) -> None:
        self._clock = clock
        self._root = Group("storyboard", "storyboard", clock, list(stories))
        self._stop = stop
        self._by_name: dict[str, list[Element]] = {}
        self._running: dict[tuple[str, str], tuple[ActionRun, Action]] = {}
        self._background: list[tuple[Entity, Action]] = []
        self.happenings: list[Happening] = []
        self.performances: list[Performance] = []
        for element in self._all(self._root):
            self._by_name.setdefault(element.name, []).append(element)

    def _all(self, element: Element) -> list[Element]:
        children = element.children if isinstance(element, Group) else getattr(element, "actions", [])
        return [element, *(e for c in children for e in self._all(c))]

    @property
    def stopped(self) -> bool:
        """Whether the storyboard's own stop trigger ended it."""
        return self._root.complete

    @property
    def exhausted(self) -> bool:
        """Whether every story is complete."""
        return all(child.complete for child in self._root.children)

    def knows(self, name: str) -> bool:
        return name.rsplit("::", 1)[-1] in self._by_name

    def tick(self) -> int:
        return self._clock.tick()

    def is_in(self, kind: str, name: str, state: str, since: int) -> bool:
        """Whether an element of this kind and name is in a state, or made a transition after tick `since`."""
        found = self._by_name.get(name.rsplit("::", 1)[-1], [])
        exact = [e for e in found if e.kind == kind.lower()] or found
        if state.endswith("Transition"):
            return any(e.made(state, since) for e in exact)
        return any(f"{e.state}State" == state for e in exact)

    def run_init(self, world: World, entity: Entity | None, action: Action) -> None:
        """Start an action of the <Init>; one that takes time runs on beside the storyboard."""
        action.start(world, entity)
        if entity is not None:
            self.performances.append(Performance(entity.name, action, world.t_s))
        if action.channel and entity is not None:
            self._take_channel(world, entity, action)
            run = ActionRun("init", self._clock, [(entity, action)])
            self._running[entity.name, action.channel] = (run, action)
            self._background.append((entity, action))

    def step(self, world: World, dt_s: float) -> None:
        """One time step: triggers first, on the world as the last step left it, then the running actions."""
        for elements in self._by_name.values():
            for element in elements:
                element.recent, element.fresh = element.fresh, {}
        if not self._root.running and not self._root.complete:
            self._root.begin()
        if self._root.running:
            for story in self._root.children:
                self._step_group(world, story, dt_s)
        for entity, action in list(self._background):
            if entity.present and self._owns(entity, action) and action.step(world, entity, dt_s):
                self._end_action(world, entity, action)
        self._background = [(e, a) for e, a in self._background if self._owns(e, a)]
        if self._root.running and self._stop is not None and self._stop.fires(world, self):
            self._root.finish("stopTransition")

    def _step_group(self, world: World, group: Element, dt_s: float) -> None:
        if isinstance(group, Event):
            self._step_event(world, group, dt_s)
            return
        assert isinstance(group, Group)
        if group.complete:
            return
        if isinstance(group, Act) and not self._act_goes_on(world, group):
            return
        if not group.running:
            group.begin()
        for child in group.children:
            self._step_group(world, child, dt_s)
        if all(child.complete for child in group.children):
            group.count += 1
            again = group.count < group.most and bool(group.children)
            group.finish("endTransition", "standby" if again else "complete")
            if again:
                reset(group)
            if isinstance(group, Act):
                self.happenings.append(Happening(world.t_s, "act", group.name, "end"))

    def _act_goes_on(self, world: World, act: Act) -> bool:
        if not act.running:
            if act.start is not None and not act.start.fires(world, self):
                return False
            self.happenings.append(Happening(world.t_s, "act", act.name, "start"))
            act.begin()
        if act.stop is not None and act.stop.fires(world, self):
            for element in self._all(act):
                if isinstance(element, Event) and element.running:
                    self._stop_event(world, element)
                if not element.complete:
                    element.finish("stopTransition")
            self.happenings.append(Happening(world.t_s, "act", act.name, "stop"))
            return False
        return True

    def _step_event(self, world: World, event: Event, dt_s: float) -> None:
        if event.state == "standby" and (event.trigger is None or event.trigger.fires(world, self)):
            self._start_event(world, event)
        if not event.running:
            return
        for run in event.actions:
            if run.running:
                self._step_action(world, run, dt_s)
        if all(run.complete for run in event.actions):
            again = event.count < event.most
            event.finish("endTransition", "standby" if again else "complete")
            self.happenings.append(Happening(world.t_s, "event", event.name, "end", tuple(event.actors)))

    def _start_event(self, world: World, event: Event) -> None:
        siblings = [e for e in self._siblings(event) if e is not event and e.running]
        event.count += 1
        if event.priority == "skip" and siblings:
            event.finish("skipTransition", "complete" if event.count >= event.most else "standby")
            return
        if event.priority in ("overwrite", "override"):
            for other in siblings:
                self._stop_event(world, other)
        event.begin()
        self.happenings.append(Happening(world.t_s, "event", event.name, "start", tuple(event.actors)))
        for run in event.actions:
            run.begin()
            run.active = []
            for entity, action in run.runs:
                if entity is not None and not entity.placed and action.channel not in ("", "trajectory"):
                    continue
                try:
                    action.start(world, entity)
                except ValueError as error:
                    # What a file asks for only now and can't be had costs that action, not the whole scenario.
                    world.notes.add(f"action {run.name}", None, f"left out at {world.t_s:.2f} s: {error}")
                    continue
                if entity is not None:
                    self.performances.append(Performance(entity.name, action, world.t_s))
                    self._take_channel(world, entity, action)
                    if action.channel:
                        self._running[entity.name, action.channel] = (run, action)
                run.active.append((entity, action))

    def _siblings(self, event: Event) -> list[Event]:
        for elements in self._by_name.values():
            for element in elements:
                if isinstance(element, Group) and event in element.children:
                    return [e for e in element.children if isinstance(e, Event)]
        return []

    def _step_action(self, world: World, run: ActionRun, dt_s: float) -> None:
        for entity, action in list(run.active):
            over = entity is not None and action.channel != "" and not self._owns(entity, action)
            if over or action.step(world, entity, dt_s):
                run.active.remove((entity, action))
                if entity is not None:
                    self._end_action(world, entity, action)
        if not run.active:
            run.finish("endTransition")

    def _owns(self, entity: Entity, action: Action) -> bool:
        running = self._running.get((entity.name, action.channel))
        return running is not None and running[1] is action

    def _take_channel(self, world: World, entity: Entity, action: Action) -> None:
        for channel in _CONFLICTS.get(action.channel, ()):
            other = self._running.pop((entity.name, channel), None)
            if other is None:
                continue
            self._note_end(world, entity, other[1])
            if channel == "trajectory" and action.channel != "trajectory":
                entity.follower = None
                world.attach(entity)
            if channel == "lateral":
                entity.lateral_mps = 0.0

    def _end_action(self, world: World, entity: Entity, action: Action) -> None:
        self._note_end(world, entity, action)
        if self._owns(entity, action):
            del self._running[entity.name, action.channel]

    def _note_end(self, world: World, entity: Entity, action: Action) -> None:
        for performance in reversed(self.performances):
            if performance.action is action and performance.actor == entity.name:
                performance.end_s = world.t_s if performance.end_s is None else performance.end_s
                return

    def _stop_event(self, world: World, event: Event) -> None:
        for run in event.actions:
            for entity, action in run.active:
                if entity is not None and action.channel and self._owns(entity, action):
                    if action.channel == "trajectory":
                        entity.follower = None
                        world.attach(entity)
                    entity.lateral_mps = 0.0
                    self._end_action(world, entity, action)
            run.active = []
            run.finish("stopTransition")
        event.finish("stopTransition", "complete" if event.count >= event.most else "standby")
        self.happenings.append(Happening(world.t_s, "event", event.name, "stop", tuple(event.actors)))
