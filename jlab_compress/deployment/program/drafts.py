"""Where a new file goes: written under another name beside its place, and never half there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_target(path: Path, overwrite: bool = False, *, suffix: str = ".onnx") -> Path:
    """Return the path if a new file may be written there.

    Raises
    ------
    ValueError
        If the name does not end in `suffix`.
    FileNotFoundError, FileExistsError, PermissionError
        If the folder is missing, the file is there, or the folder cannot be written to.
    """
    if path.suffix != suffix:
        raise ValueError(f"path: expected a name that ends in {suffix}, got {path.name!r}; add the ending")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(path.parent)!r}; create it first")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(
            f"path: {str(path)!r} is there already; choose another name or pass overwrite=True"
        )
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"path: folder {str(path.parent)!r} cannot be written to; choose another one")
    return path


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give a hidden folder on the target's own disk, and remove it with all that is in it.

    Raises
    ------
    PermissionError
        If the target's folder cannot be written to.
    """
    try:
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise PermissionError(
            f"path: folder {str(target.parent)!r} cannot be written to ({error.strerror}); choose another one"
        ) from error
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
