"""Where new files go: into a hidden folder beside their place, then there in one move, and never half."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 200
_LEFT = re.compile(r"\.jlab-compress-(?P<machine>.*)-(?P<process>\d+)-[0-9a-f]{8}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check_target(path: Path, overwrite: bool = False, *, suffix: str = ".onnx") -> Path:
    """Return the path if a new file may be written there.

    Raises
    ------
    ValueError
        If the name does not end in `suffix`, cannot be printed or is too long.
    FileNotFoundError, FileExistsError, PermissionError
        If the folder is missing, the file is there, or the folder cannot be written to.
    """
    _check_name(path)
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
def beside(target: Path, *, argument: str = "path") -> Iterator[Path]:
    """Give a hidden folder on the target's own disk, and remove it with all that is in it.

    What processes that were killed left behind in the target's folder goes too.

    Parameters
    ----------
    target : Path
        What will be written there, and then moved to its place by the caller.
    argument : str
        The name used in messages.

    Raises
    ------
    ValueError
        If the name cannot be printed or is too long.
    OSError
        If the folder cannot be written to, or the disk is full.
    """
    _check_name(target, argument)
    remove_left(target.parent)
    room = target.parent / f".jlab-compress-{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        try:
            room.mkdir()
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(room, ignore_errors=True)  # once more, if removing was interrupted
        number = number_of(error)
        if number in _NO_ROOM or str(room) in str(getattr(error, "filename", "")):
            raise type(OSError(number, ""))(
                f"{argument}: cannot write {str(target)!r} ({os.strerror(number or 0)}); make room or choose "
                "another place"
            ) from error
        raise


def _check_name(path: Path, argument: str = "path") -> None:
    """Refuse a name that some system cannot have or show."""
    try:
        fits = b"\0" not in os.fsencode(path) and len(os.fsencode(path.name)) <= LONGEST_NAME
    except UnicodeEncodeError:
        fits = False
    if not fits or not path.name.isprintable():
        raise ValueError(
            f"{argument}: expected a printable name of at most {LONGEST_NAME} bytes, got {path.name[:60]!r}; "
            "choose another one"
        )


def number_of(error: BaseException) -> int | None:
    """Return the number that the system gives a fault, also where a library written in Rust reports it.

    Examples
    --------
    >>> number_of(Exception("I/O error: No space left on device (os error 28)")), number_of(ValueError("28"))
    (28, None)
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def remove_left(folder: Path) -> None:
    """Remove the hidden folders of processes of this machine that run no more."""
    for path in folder.glob(".jlab-compress-*"):
        found = _LEFT.fullmatch(path.name)
        if found and found["machine"] == platform.node() and not _runs(int(found["process"])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    """Tell whether there is a process of this number, as far as the system lets us know."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
