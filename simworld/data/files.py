"""Atomic writes and reads that explain themselves: what every file of a store goes through."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: a temporary file in the same folder, then os.replace.

    Raises OSError with one sentence where the disk is full; what was there before stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explained(error, path) from error


def explained(error: OSError, path: Path) -> OSError:
    """The same error, or for a full disk one whose text is a sentence with the mend."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(
        f"the disk is full: {path} was not written; free some space and run again, everything written before is kept"
    )


@contextmanager
def locked(path: Path, refusal: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which a killed holder frees too.

    Where another process holds it: waits, or with `refusal` raises ValueError with that sentence.
    """
    import fcntl  # absent on Windows, where stores can still be read

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError as error:
            raise ValueError(refusal) from error
        yield


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    """Read JSON; ValueError naming the file where it is missing or cut."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def read_table(path: Path) -> pa.Table:
    """Read a parquet file; ValueError naming the file where it is missing or cut."""
    try:
        return pq.read_table(io.BytesIO(path.read_bytes()))
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception | str) -> ValueError:
    """The one sentence for a file that can not be read."""
    what = "is missing" if isinstance(error, FileNotFoundError) else f"can not be read ({str(error).splitlines()[0]})"
    return ValueError(f"{path} {what}: restore it from a copy, or delete the store and record it again")


def sweep(root: Path) -> None:
    """Delete what killed writers left under `root`; only for who holds the lock on it."""
    for leftover in list(root.rglob(".*.tmp")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
