import pytest
from torch import nn

from jlab_compress import Effort, compress
from tests.models import mlp, rows, seeded

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
