"""Run a command that ends when the process that started it ends, however that happens.

``python -I supervisor.py PLACE COMMAND ...`` keeps the command in a process group of its own and ends the
whole group once standard input closes, which also happens when the parent is killed. On Linux the kernel ends
the command when this process is killed. What the command leaves is removed: the folder PLACE, and shared
memory that is called after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE = 10.0
SHARED = Path("/dev/shm")
_END_WITH_PARENT, _NO_NEW_PRIVILEGES, _FILTER = 1, 38, 22  # of prctl(2)
_FCHMOD, _X86_64 = 91, 0xC000003E


def main() -> int:
    """Run the command line after the file's name; return its exit status."""
    place, *words = sys.argv[1:]
    os.umask(0o077)
    before = _bind if sys.platform == "linux" else None
    command = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=before)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(command))
    threading.Thread(target=_watch, args=(command,), daemon=True).start()
    status = command.wait()
    _signal(command, signal.SIGKILL)
    clean(Path(place))
    return status


def clean(place: Path) -> None:
    """Remove a command's private folder and its shared memory."""
    shutil.rmtree(place, ignore_errors=True)
    for region in SHARED.glob(f"{place.name}-*"):
        region.unlink(missing_ok=True)


def _bind() -> None:
    """Tie the new process to this one, and keep its shared memory to this user.

    Triton's Python backend opens what it shares to every reader by fchmod(2), past the umask. A filter lets
    that call succeed without effect. A kernel without filters leaves the mode as Triton sets it.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_END_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
    if platform.machine() != "x86_64":
        return
    steps = (
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 0, 3, _X86_64),  # another one: allow
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, _FCHMOD),  # another one: allow
        (0x06, 0, 0, 0x00050000),  # return 0 in its place
        (0x06, 0, 0, 0x7FFF0000),  # allow
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    prctl(_FILTER, 2, program, 0, 0)


def _watch(command: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    _end(command)


def _end(command: subprocess.Popen[bytes]) -> None:
    _signal(command, signal.SIGTERM)
    killer = threading.Timer(PATIENCE, _signal, (command, signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _signal(command: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, number)


if __name__ == "__main__":
    sys.exit(main())
