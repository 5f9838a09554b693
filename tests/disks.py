"""Disks that are full or read-only at a chosen write, and processes that are killed while they write."""

import builtins
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jlab_compress
from tests.faults import Function

# Each writes over an older version, or adds one beside it.
OVER: dict[str, Function] = {
    "save": lambda s: jlab_compress.save(s.slim, s.target / "slim.safetensors"),
    "export_onnx": lambda s: jlab_compress.export_onnx(
        s.slim, s.target / "slim.onnx", s.rows, overwrite=True
    ),
    "export_program": lambda s: jlab_compress.export_program(
        s.slim, s.target / "slim.pt2", s.rows, overwrite=True
    ),
    "export_repository": lambda s: jlab_compress.export_repository(
        s.slim, s.target, "digits", s.rows, version="next"
    ),
}


class Disk:
    """Counts what Python asks a disk to make, move or open for writing in a folder; refuses the n-th."""

    def __init__(self, folder: Path, refused: int = 0, number: int = 0) -> None:
        self.folder, self.refused, self.number = str(folder), refused, number
        self.asked = 0

    def _ask(self, path: Any) -> None:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder):
            self.asked += 1
            if self.asked == self.refused:
                raise OSError(self.number, os.strerror(self.number), os.fspath(path))

    def _asking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        opens, makes = function is io.open, function is os.mkdir

        def asked(path: Any, *more: Any, **options: Any) -> Any:
            reads = opens and not set(str(options.get("mode", more[0] if more else "r"))) & set("wax+")
            if not reads and not (makes and os.path.isdir(path)):
                self._ask(path)
            return function(path, *more, **options)

        return asked

    @contextmanager
    def used(self) -> Iterator[None]:
        """Put the disk in the place of Python's own functions."""
        names = [(os, "mkdir"), (os, "rename"), (os, "replace"), (io, "open"), (builtins, "open")]
        with ExitStack() as stack:
            for room, name in names:
                stack.enter_context(patch.object(room, name, self._asking(getattr(room, name))))
            yield


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse what would make a file longer, also to compiled code: "File too large"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


CHILD = """
import sys
from pathlib import Path
from tests.disks import OVER
from tests.faults import session_in
with session_in(Path(sys.argv[1])) as session:
    OVER[sys.argv[2]](session)
    print("ready", flush=True)
    while True:
        OVER[sys.argv[2]](session)
"""


class Victim:
    """A process that writes the same again and again, until it is killed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), name],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill_after(self, seconds: float) -> bool:
        """Kill it so long after it has written once; tell whether it was still at work."""
        assert self._process.stdout is not None
        ready = self._process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        alive = self._process.poll() is None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        return ready and alive
