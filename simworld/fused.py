"""Fused: a world model whose step is compiled, for processors that wait for small operations more than for large ones.

A step is some six hundred operations, of which few dozen are products of matrices. Compiled, the others run as a few
loops, and nothing of Python is left between them.
"""

from __future__ import annotations

import functools
import shutil
import types
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from simworld.world_model import Prediction, WorldModel

M = TypeVar("M", bound=WorldModel[Any])
ON_CPU = {"freezing": True, "cpp_wrapper": True}  # weights lie as the kernels want them; no Python between kernels


def fuse(model: M) -> M:
    """The model itself, its `step` compiled by torch.compile: weights and settings are final from here on.

    The first step of each number of streams compiles for about a minute, which torch keeps on disk for later processes.
    Steps that are told of actors stay as they were. A frame differs from what the uncompiled step draws by a few grey
    levels in bfloat16, since what is fused is not rounded in between; the same number of streams gives the same film.
    Raises ValueError where a CPU has no C++ compiler.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not can_fuse():
        raise ValueError("compiling needs a C++ compiler: install g++ or clang++, or leave compile out")
    from torch._dynamo.exc import Unsupported  # here, because imports of a compiler take a second
    from torch._inductor import config as inductor

    plain = model.step
    options: dict[str, Any] = ON_CPU if on_cpu else {}
    known: dict[Hashable, Callable[..., Any]] = {}

    @functools.wraps(plain)
    def step(state: Any, action: Tensor, actors: Tensor | None = None) -> tuple[Any, Prediction]:
        if actors is not None:
            return plain(state, action, actors)
        with torch.no_grad():
            like = _layout((state, action))
            if like in known:
                return known[like](state, action)
            alone = _with_its_own_code(lambda state, action: plain(state, action))
            with inductor.patch(freezing=on_cpu):  # what traces asks here whether weights are final, not the options
                try:
                    unasked = options | {"guard_filter_fn": _none}
                    compiled = torch.compile(alone, fullgraph=True, dynamic=False, options=unasked)
                    first = compiled(state, action)
                except Unsupported:  # in pieces, whose code those of other layouts share, so that each must ask
                    compiled = torch.compile(alone, dynamic=False, options=options)
                    first = compiled(state, action)
            known[like] = compiled
            return first

    model.step = step  # type: ignore[method-assign]
    return model


def _with_its_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; what is compiled is kept with a function's code, which those of others would share."""
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace()
    return types.FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def _none(guards: Sequence[Any]) -> list[bool]:
    """Which of a compiled step's conditions torch asks at every step, which takes a stream a twentieth of it: none of
    one that is compiled as a whole, as there is one for every layout of what it is given, and its code and model hold
    for good."""
    return [False] * len(guards)


def _layout(given: Any) -> Hashable:
    """All that a compiled step may rely on: sizes, strides, types and devices of tensors, which of them are the same
    one, and every other value."""
    leaves = list(_leaves(given))
    which = [id(x) for x in leaves if isinstance(x, Tensor)]
    same = tuple(map(which.index, which))
    return same, tuple((x.shape, x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)


def _leaves(given: Any) -> Iterator[Any]:
    """Every value in nested dataclasses, mappings and sequences, and what each of these is."""
    if is_dataclass(given):
        yield type(given)
        given = tuple(vars(given).values())
    elif isinstance(given, dict):
        yield tuple(given)
        given = tuple(given.values())
    if isinstance(given, tuple | list):
        yield len(given)
        for value in given:
            yield from _leaves(value)
    else:
        yield given


def can_fuse() -> bool:
    """Whether there is a C++ compiler, as torch.compile needs one on a CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))
