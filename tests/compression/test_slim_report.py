import copy
import math

import pytest
import torch
from torch import nn

from jlab_compress import Effort, compress, prepare
from jlab_compress.compression.fits.evaluation import Evaluation
from jlab_compress.compression.joint.task import NTK_MATCHING
from jlab_compress.compression.slim_report import summarise
from jlab_compress.fitting.criteria import training_criteria
from jlab_compress.fitting.fit import Fit
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.plan import Plan
from tests.models import mlp, rows, seeded
from tests.quick import FAST

X = rows(400, 3)
NOT_COMPRESSIBLE = "not compressible to that width; keep more neurons or leave it out"
WILL_NOT_TRAIN_ALIKE = "will not train like the original; keep more neurons"


def warnings_at(width, preserve):
    net = mlp(3, 80, 2, activation=nn.Tanh)
    return compress(net, width, calibration=X, preserve=preserve, progress=False).report.warnings


@pytest.mark.parametrize(
    ("preserve", "words"),
    [("function", (NOT_COMPRESSIBLE,)), ("dynamics", (NOT_COMPRESSIBLE, WILL_NOT_TRAIN_ALIKE))],
)
def test_a_block_that_is_not_compressible_to_a_width_is_named(preserve, words):
    warnings = warnings_at(1, preserve)
    assert len(warnings) == len(words)
    for warning, ending in zip(warnings, words, strict=True):
        assert warning.startswith("block 0: at 1 of 80 neurons it")
        assert warning.endswith(ending)


@pytest.mark.parametrize("preserve", ["function", "dynamics"])
def test_nothing_is_warned_about_where_compression_is_fine(preserve):
    assert warnings_at(40, preserve) == ()


NET = mlp(3, 20, 20, 2)
PREPARED = prepare(NET, X)
ALIKE, UNLIKE = (training_criteria(training_gap=gap) for gap in (0.1, 0.4))


def report_on(gap, *fits):
    """Return the report of a model with this function gap, from (width, method, error, criteria) by block."""
    made = {}
    for block, (width, method, error, criteria) in zip(PREPARED.blocks, fits, strict=True):
        layer = read_layer(NET, block, block.activation).select(torch.arange(width))
        made[block.name] = Fit(layer, None, method, error, criteria=criteria)
    slim = copy.deepcopy(NET)
    attach_plan(slim, Plan(()))
    return summarise(PREPARED, slim, Evaluation(made, gap, gap), ())


def alike_column(report):
    return [row[report.tables[0].columns.index("trains alike")] for row in report.tables[0].rows]


FINE = (10, "moved nodes", 0.05, ALIKE)
OFF = (5, "moved nodes", 0.6, ALIKE)
JOINT = (5, NTK_MATCHING, 0.6, ALIKE)
UNFOLLOWED = (5, "moved nodes", 0.1, UNLIKE)
UNMEASURED = (5, "greedy + refit", 0.1, ())
UNKNOWN = (5, "moved nodes", math.nan, ())
WHOLE = (20, NTK_MATCHING, 0.0, ALIKE)


ONLY = "only without training"
WORDS = {"as it is": "Usable as it is", ONLY: "Usable only without training", "no": "Not usable"}


@pytest.mark.parametrize(
    ("gap", "fits", "answer", "alike", "words"),
    [
        (0.05, (FINE, FINE), "as it is", [True, True], []),
        (0.05, (FINE, UNFOLLOWED), ONLY, [True, False], [WILL_NOT_TRAIN_ALIKE]),
        (0.05, (FINE, UNMEASURED), ONLY, [True, None], []),
        (0.05, (FINE, OFF), "as it is", [True, True], ["is 0.6, though that of the whole model is 0.05"]),
        (0.5, (FINE, OFF), "no", [True, False], [NOT_COMPRESSIBLE]),
        (0.5, (FINE, UNKNOWN), "no", [True, None], [NOT_COMPRESSIBLE]),
        (0.5, (WHOLE, JOINT), "no", [True, False], ["jointly (2): the held-out function gap is 0.5"]),
        (
            math.nan,
            (JOINT, JOINT),
            "no",
            [False, False],
            ["jointly (0, 2): the held-out function gap"],
        ),
        (0.5, (FINE, FINE), "no", [True, True], ["all blocks together: the held-out function gap is 0.5"]),
    ],
)
def test_headline_rows_and_warnings_say_the_same(gap, fits, answer, alike, words):
    report = report_on(gap, *fits)
    assert report.facts["usable"] == answer
    assert report.summary.startswith(WORDS[answer])
    assert alike_column(report) == alike
    assert len(report.warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, report.warnings, strict=True))
    for page in (str(report), report._repr_html_()):
        assert page.index(WORDS[answer]) < page.index("Blocks")


@pytest.mark.parametrize("widths", [{"0": 2, "2": 20, "4": 3}, {"0": 12, "2": 1, "4": 16}])
def test_what_is_not_compressible_is_never_expected_to_train_alike(widths):
    net = mlp(3, 24, 20, 16, 2, activation=nn.Tanh)
    report = compress(net, widths, calibration=rows(120, 3), effort=FAST, progress=False).report
    assert any("not compressible to these widths" in warning for warning in report.warnings)
    narrower = [row[3] < row[2] for row in report.tables[0].rows]
    assert [alike for alike, less in zip(alike_column(report), narrower, strict=True) if less] == [False] * 2


@pytest.mark.parametrize("width", [1, 30])
def test_blocks_that_were_refined_jointly_are_judged_jointly(width):
    net, effort = mlp(3, 40, 40, 2, activation=nn.Tanh), Effort(node_steps=100, matching_steps=40)
    made = compress(net, width, calibration=rows(100, 3), effort=effort, progress=False)
    warnings = made.report.warnings
    together = [w for w in warnings if w.startswith("blocks refined jointly (0, 2): the held-out function")]
    assert bool(together) == (width == 1)
    assert not any("its held-out function error" in w for w in warnings)


def test_of_blocks_judged_jointly_only_those_that_became_narrower_are_to_keep_more():
    layers = (nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Conv2d(8, 2, 3))
    net, effort = seeded(nn.Sequential, *layers).double(), Effort(node_steps=20, matching_steps=10)
    made = compress(net, {"0": 8, "2": 1}, calibration=rows(40, 1, 9, 9), effort=effort, progress=False)
    warnings = [w for w in made.report.warnings if w.endswith(WILL_NOT_TRAIN_ALIKE)]
    assert [w.split(":")[0] for w in warnings] == ["block 2"]
