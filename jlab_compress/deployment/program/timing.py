"""Time several computations in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

BURST_SECONDS = 0.05


def medians_in_turn(
    runs: Sequence[Callable[[], object]],
    *,
    seconds: float,
    rounds: range,
    burst: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Return the median milliseconds of each computation; in each round all of them take their turn.

    Parameters
    ----------
    runs : sequence of callable
        What to time; a first, untimed call of each comes before.
    seconds : float
        About how long all rounds may take.
    rounds : range
        From the fewest to the most rounds.
    burst : int
        The most calls of one computation in a row, for a twentieth of a second: its numbers are then in the
        processor's cache, as on a server, and not pushed out by the one before it.
    clock : callable
        `time.thread_time` leaves other jobs of a busy machine out, for one thread.

    Examples
    --------
    >>> ticks = iter(range(100))
    >>> medians_in_turn([int], seconds=0.0, rounds=range(3, 9), clock=lambda: next(ticks) / 1000)
    (1.0,)
    """
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    for done in range(rounds.stop):
        if done >= rounds.start and time.perf_counter() > end:
            break
        for run, taken in zip(runs, times, strict=True):
            taken += _burst(run, burst, clock)
    return tuple(median(taken) for taken in times)


def _burst(run: Callable[[], object], most: int, clock: Callable[[], float]) -> list[float]:
    """Return the milliseconds of a few calls in a row."""
    taken: list[float] = []
    end = time.perf_counter() + BURST_SECONDS
    while not taken or (len(taken) < most and time.perf_counter() < end):
        start = clock()
        run()
        taken.append(1e3 * (clock() - start))
    return taken
