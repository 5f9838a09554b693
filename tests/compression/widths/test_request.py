import math
from functools import partial

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.compression.widths.request import NamedWidths, Resolved, SameWidths, Within
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block, Blocks
from tests.models import mlp, rows
from tests.quick import FAST, X, narrow

compress = partial(jlab_compress.compress, effort=FAST)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        (8, {"0": 8, "2": 8}),
        (0.5, {"0": 20, "2": 10}),
        ("polylog", {"0": 28, "2": 18}),
        ({"2": 4}, {"2": 4}),
        ({"0": 0.25, "2": torch.tensor(5)}, {"0": 10, "2": 5}),
        ({"0": 40}, {"0": 40}),
    ],
)
def test_widths_may_be_numbers_fractions_or_polylog_for_all_or_each(widths, expected):
    plan = narrow(mlp(6, 40, 20, 3), widths).plan
    assert {b.name: b.width_after for b in plan.blocks} == expected


@pytest.mark.parametrize(
    ("widths", "kind", "words"),
    [
        (0, ValueError, "block 0 has 40 neurons, so expected 1 to 40, got 0"),
        (-3, ValueError, "expected 1 to 40, got -3"),
        (41, ValueError, "expected 1 to 40, got 41"),
        (30, ValueError, "block 2 has 20 neurons"),
        (1.0, ValueError, "expected a fraction between 0 and 1, got 1.0"),
        (float("nan"), ValueError, "expected a fraction between 0 and 1, got nan"),
        (True, TypeError, "got True"),
        ("half", TypeError, "got 'half'"),
        (None, TypeError, "got None"),
        ({"1": 5}, ValueError, "there is no block '1'"),
        ({"o": 5}, ValueError, "there is no block 'o'; the model has"),
        ({}, ValueError, "names no block"),
    ],
)
def test_bad_widths_are_refused_in_one_sentence(widths, kind, words):
    with pytest.raises(kind, match=words):
        narrow(mlp(6, 40, 20, 3), widths)


BLOCK = Block("0", "mlp", (), 1000, 4, 4000, None)


def asked(request, errors):
    """Resolve a request for one block of 1,000 neurons; return what came of it and what was forecast."""
    grids = []

    def forecast(block, widths):
        grids.append(list(widths))
        pairs = [errors(width) for width in widths]
        return Forecast(tuple(widths), *(tuple(part) for part in zip(*pairs, strict=True)))

    return request.resolve(Blocks((BLOCK,)), forecast), grids


def test_a_tolerance_is_forecast_once_and_says_what_it_expects_there():
    found, grids = asked(Within(0.02, kernel=False), lambda s: (1 / s, math.nan))
    assert found.widths == {"0": 50}
    assert found.notes == ("block 0: at 50 of 1000 neurons the forecast was a function error of 0.02.",)
    assert len(grids) == 1
    assert len(grids[0]) == 12
    both, _ = asked(Within(0.02, kernel=True, round_to=16), lambda s: (1 / s, 2 / s))
    assert both.widths == {"0": 112}
    assert both.notes[0].endswith("a function error of 0.0089 and a tangent kernel error of 0.018.")


def test_a_rule_is_forecast_once_at_its_width_and_a_number_not_at_all():
    found, grids = asked(SameWidths("polylog"), lambda s: (1 / s, 0.5))
    assert grids == [[found.widths["0"]]] == [[96]]
    assert found.notes[0].endswith("a function error of 0.01 and a tangent kernel error of 0.5.")
    for request in (SameWidths(96), NamedWidths({"0": "polylog"})):
        assert asked(request, None) == (Resolved({"0": 96}), [])


def test_polylog_and_tolerance_show_the_forecast():
    net = mlp(6, 40, 3)
    for options in ({"widths": "polylog"}, {"tolerance": 0.2}):
        notes = compress(net, calibration=X, preserve="function", progress=False, **options).report.notes
        assert any("the forecast was a function error of" in note for note in notes)
    assert not any("forecast" in note for note in narrow(net, 9).report.notes)


def test_a_tolerance_takes_the_smallest_width_that_is_expected_to_meet_it():
    net = mlp(3, 60, 2, activation=nn.Tanh)
    x = rows(400, 3)
    widths = [
        compress(net, tolerance=t, calibration=x, preserve="function", progress=False)
        .plan.blocks[0]
        .width_after
        for t in (0.2, 0.02, 1e-9)
    ]
    assert widths[0] < widths[1] < widths[2] == 60


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, ValueError, "give exactly one of them"),
        ({"widths": 4, "tolerance": 0.1}, ValueError, "give exactly one of them"),
        ({"tolerance": 0.0}, ValueError, "expected a positive relative error"),
        ({"tolerance": float("nan")}, ValueError, "expected a positive relative error"),
        ({"tolerance": "small"}, TypeError, "expected a relative error such as 0.05, got 'small'"),
    ],
)
def test_a_bad_tolerance_is_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        compress(mlp(6, 40, 3), calibration=X, **options)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        (0.3, {"0": 16, "2": 8}),
        ("polylog", {"0": 32, "2": 20}),
        (0.9, {"0": 40, "2": 20}),
        (16, {"0": 16, "2": 16}),
        ({"2": 20, "0": 8}, {"0": 8, "2": 20}),
    ],
)
def test_widths_can_be_multiples_rounded_up_and_never_above_the_present_one(widths, expected):
    made = compress(mlp(6, 40, 20, 3), widths, calibration=X, preserve="function", round_to=8, progress=False)
    assert {b.name: b.width_after for b in made.plan.blocks} == expected


def test_a_tolerance_is_rounded_up_too():
    net, options = mlp(6, 40, 3), {"calibration": X, "preserve": "function", "progress": False}
    free, even = (
        compress(net, tolerance=0.2, round_to=k, **options).plan.blocks[0].width_after for k in (1, 8)
    )
    assert even == min(40, -(-free // 8) * 8)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"widths": 12, "round_to": 8}, ValueError, "12 neurons are no multiple of round_to=8; pass 16, or"),
        ({"widths": 0.5, "round_to": 0}, ValueError, "round_to: expected a positive number of neurons"),
        ({"widths": 0.5, "round_to": 8.0}, TypeError, "round_to: expected a whole number of neurons"),
    ],
)
def test_a_bad_multiple_is_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        compress(mlp(6, 40, 3), calibration=X, progress=False, **options)
