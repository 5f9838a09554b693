"""What the side panel costs a cell: the hook with 20 models alive, open and hidden.

Prints the time of `post_run_cell` in milliseconds, per cell over 200 cells.
"""

from __future__ import annotations

import argparse
import time

from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from jlab_compress.notebook.kernel.channel import Channel


class Listener:
    """A panel that hears and says nothing."""

    comm_id = "benchmark"

    def send(self, message: object) -> None:
        """Hear."""

    on_msg = on_close = send


def namespace(models: int) -> dict[str, object]:
    """Return encoders of 12 layers, plain nets and a few thousand other names."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    names: dict[str, object] = {f"value_{i}": i for i in range(2000)}
    for i in range(models):
        names[f"net_{i}"] = nn.TransformerEncoder(layer, 12)
    return names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--cells", type=int, default=200)
    arguments = parser.parse_args()
    shell = InteractiveShell()
    shell.user_ns.update(namespace(arguments.models))
    channel = Channel(shell)
    for label in ("hidden", "open"):
        if label == "open":
            channel.opened(Listener(), {})
        times, work = [], time.thread_time()
        for _ in range(arguments.cells):
            start = time.perf_counter()
            channel.after_cell()
            times.append(1000 * (time.perf_counter() - start))
        work = 1000 * (time.thread_time() - work) / arguments.cells
        print(f"{label:>6}: {work:.3f} ms of one core a cell, wall clock at most {max(times):.3f} ms")


if __name__ == "__main__":
    main()
