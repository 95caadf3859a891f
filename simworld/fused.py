"""Fused: a world model whose step is compiled, for processors that wait for small operations more than for large ones.

A step is some six hundred operations, of which few dozen are products of matrices. Compiled, the others run as a few
loops, and nothing of Python is left between them. A library's product of a matrix with a single row takes several
times as long to be set up as to be computed, so that products of few rows are written out as loops as well.
"""

from __future__ import annotations

import functools
import math
import shutil
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from simworld.world_model import Prediction, WorldModel, map_streams

M = TypeVar("M", bound=WorldModel[Any])
# Weights lie as the kernels want them; no Python between kernels; products may be loops, see _few_rows_written_out.
ON_CPU = {"freezing": True, "cpp_wrapper": True, "max_autotune_gemm": True}
FEW_ROWS = 16


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
    plain, known = model.step, list[tuple[Any, Callable[..., Any]]]()

    @functools.wraps(plain)
    def step(state: Any, action: Tensor, actors: Tensor | None = None) -> tuple[Any, Prediction]:
        if actors is not None:
            return plain(state, action, actors)
        with torch.no_grad():
            like = _layout(state, action)
            for layout, compiled in known:
                if layout == like:
                    return compiled(state, action)
            compiled, first = _compiled(plain, state, action, on_cpu)
            known.append((like, compiled))
            return first

    model.step = step  # type: ignore[method-assign]
    return model


def _compiled(plain: Callable[..., Any], state: Any, action: Tensor, on_cpu: bool) -> tuple[Callable[..., Any], Any]:
    """A step compiled for all that is laid out as these are, and what it makes of them."""
    from torch._dynamo.exc import Unsupported  # here, because imports of a compiler take a second
    from torch._inductor import config as inductor

    alone = _with_its_own_code(lambda state, action: plain(state, action))
    compiled = functools.partial(torch.compile, alone, dynamic=False)
    options: dict[str, Any] = ON_CPU if on_cpu else {}
    # what traces asks torch's own setting whether weights are final, not the options
    with inductor.patch(freezing=on_cpu), _few_rows_written_out() if on_cpu else nullcontext():
        try:
            whole = compiled(fullgraph=True, options=options | {"guard_filter_fn": _none})
            return whole, whole(state, action)
        except Unsupported:  # in pieces, whose code those of other layouts share, so that each must ask
            pieces = compiled(options=options)
            return pieces, pieces(state, action)


@contextmanager
def _few_rows_written_out() -> Iterator[None]:
    """What compiles here has no choice how to multiply matrices: with loops where there are few rows, or else by the
    library. Choices are not timed, as the same film is to be drawn again whoever else keeps the machine busy."""
    from torch._inductor.select_algorithm import get_algorithm_selector_cache

    among = get_algorithm_selector_cache().preprocessing_fns
    among.append(_by_rows)
    try:
        yield
    finally:
        among.remove(_by_rows)


def _by_rows(choices: list[Any]) -> list[Any]:
    """Of torch's choices for a product the one that is taken."""
    from torch._inductor.select_algorithm import ExternKernelCaller

    def avoided(choice: Any) -> bool:
        few = math.prod(int(n) for n in choice.layout.size[:-1]) <= FEW_ROWS
        return isinstance(choice, ExternKernelCaller) == few

    return sorted(choices, key=avoided)[:1]


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


def _layout(state: Any, action: Tensor) -> Any:
    """The same with what a compiled step may rely on in place of every tensor: size, stride, type and device, and which
    one it is, should two be the same."""
    met: list[int] = []

    def of(x: Tensor) -> tuple[Any, ...]:
        met.append(id(x))
        return x.shape, x.stride(), x.dtype, x.device, met.index(id(x))

    return map_streams((state, action), of)


def can_fuse() -> bool:
    """Whether there is a C++ compiler, as torch.compile needs one on a CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))
