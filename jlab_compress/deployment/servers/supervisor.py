"""Run a command that ends when the process that started it ends, however that happens.

``python -m jlab_compress.deployment.servers.supervisor COMMAND ...`` keeps the command in a process group
of its own and ends the whole group once standard input closes, which also happens when the parent is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PATIENCE = 10.0


def main() -> int:
    """Run the command line after the module's name; return its exit status."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(command))
    threading.Thread(target=_watch, args=(command,), daemon=True).start()
    status = command.wait()
    _signal(command, signal.SIGKILL)
    return status


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
