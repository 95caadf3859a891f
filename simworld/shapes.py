"""Array shapes as einops strings, checked at public doors.

Legend, used all over the library: b batch, t time (frames), a action entries, c channels,
h height, w width, n actors, s state entries, k cameras, l tokens, d features.
"""

from __future__ import annotations

from typing import Any


def expect(array: Any, pattern: str, *, name: str = "array", **sizes: int) -> dict[str, int]:
    """Check that `array.shape` matches `pattern` and return the size of every letter.

    `pattern` is letters or integers apart by spaces, e.g. ``"b t h w 3"``; a letter that occurs
    twice, or that is given in `sizes`, must have one size. Raises ValueError with one sentence.
    """
    axes = pattern.split()
    shape = tuple(array.shape)
    if len(shape) != len(axes):
        raise ValueError(f"{name} must have shape ({pattern}), got {shape}")
    found = dict(sizes)
    for axis, size in zip(axes, shape, strict=True):
        want = int(axis) if axis.isdigit() else found.setdefault(axis, size)
        if want != size:
            raise ValueError(f"{name} must have shape ({pattern}) with {axis} = {want}, got {shape}")
    return found
