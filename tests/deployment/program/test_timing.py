"""Medians of computations that take turns, by a clock that is told what each call takes."""

import pytest

from jlab_compress.deployment.program.timing import medians_in_turn


class Clock:
    """Time that passes only in calls: the first computation takes 2 ms, the second 5 ms, once 100 ms."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def call(self, name, *milliseconds):
        left = list(milliseconds)

        def run():
            self.order.append(name)
            self.now += (left.pop(0) if len(left) > 1 else left[0]) / 1000

        return run

    def __call__(self):
        return self.now


def test_each_has_its_own_median_and_one_slow_call_does_not_show():
    clock = Clock()
    runs = [clock.call("a", 2.0), clock.call("b", 5.0, 5.0, 100.0, 5.0)]
    found = medians_in_turn(runs, seconds=0.0, rounds=range(3, 50), clock=clock)
    assert found == pytest.approx((2.0, 5.0))
    assert "".join(clock.order) == "ab" + 3 * "ab"  # one call each that is not timed, then the fewest rounds


def test_a_burst_runs_one_several_times_in_a_row():
    clock = Clock()
    medians_in_turn(
        [clock.call("a", 1.0), clock.call("b", 1.0)], seconds=0.0, rounds=range(2, 2), burst=3, clock=clock
    )
    assert "".join(clock.order) == "ab" + 2 * "aaabbb"


def test_no_more_rounds_than_the_most():
    clock = Clock()
    medians_in_turn([clock.call("a", 1.0)], seconds=60.0, rounds=range(1, 4), clock=clock)
    assert len(clock.order) == 1 + 4
