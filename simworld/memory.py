"""Keeps freed memory in the process, so that large tensors do not fault their pages in again."""

from __future__ import annotations

import ctypes
import sys

_M_MXFAST, _M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = 1, -1, -2, -4  # glibc, <malloc.h>


def keep_freed_memory() -> bool:
    """Tell glibc's allocator not to hand memory back to the kernel; returns whether it obeyed.

    By default every tensor above 32 MB is mapped and unmapped anew, and zeroed page by page in between:
    in a virtual machine that was five times the cost of the arithmetic. And small freed pieces are put together at
    once, instead of all of them whenever a large one is asked for, as in every step. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28), (_M_MXFAST, 0))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
