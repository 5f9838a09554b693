"""Measures along the steps: known values at a checkpoint, and what a curve makes of them."""

import math

import pytest
import torch

from jlab_compress.validation.measures.curve import (
    FUNCTION_GAP,
    HELD_OUT_LOSS,
    METRIC,
    MOVEMENT,
    TRAINING_GAP,
    TRAINING_LOSS,
    Checkpoint,
    Curve,
    final,
    recent_loss,
)

START, MOVED = torch.tensor([3.0, 4.0]).double(), torch.tensor([3.0, 9.0]).double()


def checkpoint(**changes):
    """The original moved by 5; the model started one off, and moved by 2 in the same direction."""
    given = {"outputs": START + torch.tensor([1.0, 2.0]), "start": START + torch.tensor([1.0, 0.0])}
    given |= {"original": MOVED, "original_start": START, "losses": (8.0, 4.0)}
    return Checkpoint(**{**given, "held_out_loss": 0.5, "metric": None, **changes})


def test_each_measure_has_its_known_value():
    at = checkpoint()
    assert TRAINING_GAP.value(at) == pytest.approx(3 / 5)
    assert FUNCTION_GAP.value(at) == pytest.approx(math.sqrt(1 + 9) / math.sqrt(90))
    assert MOVEMENT.value(at) == pytest.approx(2 / math.sqrt(32))
    assert (TRAINING_LOSS.value(at), HELD_OUT_LOSS.value(at), METRIC.value(at)) == (4.0, 0.5, None)


def test_the_recent_loss_is_over_a_tenth_of_the_steps():
    assert math.isnan(recent_loss(()))
    assert recent_loss([5.0]) == 5.0
    assert recent_loss([9.0] * 37 + [1.0, 2.0, 6.0]) == pytest.approx((9.0 + 1 + 2 + 6) / 4)


def test_a_curve_knows_what_was_taken():
    curve = Curve((1.0,), (0, 1), {"metric": (0.2, 0.4)})
    assert curve.of(METRIC) == (0.2, 0.4)
    assert curve.of(HELD_OUT_LOSS) == ()
    other = Curve((1.0,), (0, 1), {"metric": (0.2, 0.8)})
    assert final([{"slim": curve}, {"slim": other}], "slim", METRIC) == pytest.approx(0.6)


def test_the_values_of_a_measure_have_a_name_of_their_own():
    names = {"training gap": 1.0, "function gap": 2.0, "held-out loss": 3.0, "metric": 4.0, "movement": 5.0}
    curve = Curve((), (0,), {name: (value,) for name, value in names.items()})
    found = curve.training_gaps, curve.function_gaps, curve.held_out_losses, curve.metrics, curve.movements
    assert found == ((1.0,), (2.0,), (3.0,), (4.0,), (5.0,))


def test_the_late_gap_leaves_the_first_half_and_the_start_out():
    gaps = {"training gap": (0.0, 7.0, 8.0, 0.5, 0.1, 0.3)}
    assert Curve((), (0, 1, 2, 5, 7, 10), gaps).late_gap == 0.3
    assert Curve((), (0, 1), {"training gap": (0.0, 0.7)}).late_gap == 0.7
    assert Curve((), (0, 1), {"training gap": (0.0, 0.7)}, diverged_at=1).late_gap == math.inf
