"""How far a running cell is, read off its tqdm bars from a thread, for a panel that asks for it.

Reading the bars that are there anyway keeps the fits free of the panel, and a page that is loaded in the
middle of a cell hears the next reading.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

INTERVAL = 0.4


class Watch:
    """A thread that reports the outermost bar of this process until it is stopped.

    Parameters
    ----------
    tell : callable
        Called with one message per reading, from the thread.
    interval : float
        Seconds between readings; a cell that is over sooner is never reported.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None], *, interval: float = INTERVAL) -> None:
        self._tell = tell
        self._over = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._read, args=(interval,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a progress that was told is told to be over."""
        self._over.set()
        self._thread.join(timeout=1)
        if self._told:
            self._tell(message("", 1, 1, 0.0))

    def _read(self, interval: float) -> None:
        while not self._over.wait(interval):
            found = reading()
            if found is not None:
                self._told = True
                self._tell(found)


def reading() -> dict[str, Any] | None:
    """Return the outermost tqdm bar as a message, or None where no bar is shown.

    tqdm has no public list of its bars; without the private one, which its own monitor reads too, nothing is
    told and nothing fails.
    """
    tqdm = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    if tqdm is None:
        return None
    bars = [bar for bar in list(getattr(tqdm, "_instances", ())) if not bar.disable]
    if not bars:
        return None
    bar = min(bars, key=lambda candidate: abs(candidate.pos))
    elapsed = float(bar.format_dict["elapsed"])
    return message(str(bar.desc or "").rstrip(": ")[:200], bar.n, bar.total, elapsed)


def message(label: str, done: float, total: float | None, seconds: float) -> dict[str, Any]:
    """Return one progress message; `done` equal to `total` says that it is over."""
    return {"type": "progress", "label": label, "done": done, "total": total, "seconds": seconds}
