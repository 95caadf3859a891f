"""Notes: what a reader met and could not honour, gathered so that nothing is dropped in silence."""

from __future__ import annotations

from simworld.scenario import Unsupported


class Notes:
    """Collects `Unsupported` entries; the same element with the same remedy is listed once, with a count."""

    def __init__(self) -> None:
        self._first_line: dict[tuple[str, str], int | None] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, element: str, line: int | None, instead: str) -> None:
        """Note that `element` (its name in the source) was met at `line` and what was done instead."""
        key = (element, instead)
        self._first_line.setdefault(key, line)
        self._count[key] = self._count.get(key, 0) + 1

    def extend(self, entries: tuple[Unsupported, ...]) -> None:
        """Take over the notes of another reader, such as those of a scenario's road file."""
        for entry in entries:
            self.add(entry.element, entry.line, entry.instead)

    def entries(self) -> tuple[Unsupported, ...]:
        """Everything noted, in the order first met."""
        result = []
        for (element, instead), line in self._first_line.items():
            count = self._count[element, instead]
            often = f" ({count} times, first at this line)" if line is not None else f" ({count} times)"
            text = instead if count == 1 else instead + often
            result.append(Unsupported(element, line, text))
        return tuple(result)
