"""What a file costs to run: latency side by side with another one, and peak memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jlab_compress.deployment.onnx.session import open_session
from jlab_compress.deployment.program.signature import Signature
from jlab_compress.deployment.program.timing import medians_in_turn
from jlab_compress.drafts import beside

BATCHES = (1, 32)
THREADS = {"1": 1, "all": 0}
ROUNDS = range(5, 200)
BURST = 10
_PEAK = """
import sys, numpy, onnxruntime
def high_water():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
stored = numpy.load(sys.argv[2])
arrays = [stored[f"arr_{i}"] for i in range(len(stored))]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 4
idle = high_water()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {port.name: array for port, array in zip(session.get_inputs(), arrays)})
print(1024 * (high_water() - idle))
"""


@dataclass(frozen=True)
class Latency:
    """Median milliseconds for one batch, for files measured in turn on the same inputs.

    Parameters
    ----------
    batch : int
        Rows in one request.
    threads : str
        "1" or "all".
    milliseconds : tuple of float
        One median per file, in the order in which they were given.
    """

    batch: int
    threads: str
    milliseconds: tuple[float, ...]


def measure_latency(
    paths: Sequence[Path],
    signature: Signature,
    *,
    seconds: float = 1.0,
    threads: Mapping[str, int] = THREADS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Latency, ...]:
    """Time files in turn on the same inputs, each up to ten times in a row, as `medians_in_turn` does.

    Parameters
    ----------
    paths : sequence of Path
        ONNX files that take the same inputs.
    signature : Signature
        The example inputs, resized to batch 1 and 32.
    seconds : float
        About how long each combination of batch and threads may take; at least 5 rounds are run.
    threads : mapping of str to int
        Numbers of threads by label; 0 is all.
    clock : callable
        `time.thread_time` leaves other jobs of a busy machine out, for one thread.

    Returns
    -------
    tuple of Latency
        For batch 1 and 32, with each number of threads.
    """
    found = []
    for batch in BATCHES:
        feeds = signature.resized(batch=batch).feeds()
        for label, number in threads.items():
            runs = [partial(open_session(path, threads=number).run, None, feeds) for path in paths]
            medians = medians_in_turn(runs, seconds=seconds, rounds=ROUNDS, burst=BURST, clock=clock)
            found.append(Latency(batch, label, medians))
    return tuple(found)


def measure_memory(path: Path, signature: Signature, *, batch: int = 32) -> int | None:
    """Return the bytes that loading a file and running one batch adds to a fresh process; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    with beside(path) as room:
        feeds = room / "feeds.npz"
        np.savez(feeds, *signature.resized(batch=batch).feeds().values())
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(path), str(feeds)], capture_output=True, text=True, check=True
        )
    return int(done.stdout)
