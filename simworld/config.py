"""Configs as JSON: nested frozen dataclasses to plain values and back, with unknown names refused."""

from __future__ import annotations

import dataclasses
import difflib
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """Plain dict of a dataclass; tuples become lists in JSON."""
    return dataclasses.asdict(config)


def from_json(cls: type[T], raw: Any, *, where: str = "") -> T:
    """Build `cls` from a plain mapping; fields that are absent keep their defaults.

    Raises ValueError on an unknown field, naming the nearest, and on a value of another kind.
    """
    label = where or cls.__name__
    if not hasattr(raw, "items"):
        raise ValueError(f"{label} must be a mapping, got {raw!r}")
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = {}
    for name, value in raw.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=3) or names
            raise ValueError(f"{label} has no field {name!r}; did you mean {', '.join(near)}?")
        values[name] = _convert(hints[name], value, f"{where}.{name}" if where else name)
    return cls(**values)


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, where=where)  # type: ignore[arg-type]
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, args))}, got {value!r}")
        return value
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(args[0], v, where) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise ValueError(f"{where} must be {kind.__name__}, got {value!r}")
    return value
