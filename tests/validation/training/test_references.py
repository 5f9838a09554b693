"""Which pairs of models can be trained side by side, whatever their blocks hold."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.validation.training.references import check_shared_plan
from tests.models import mlp, rows, seeded
from tests.slim.saved.models import Attending, conv, depthwise, inputs

PAIRS = {
    "neurons": (lambda: mlp(4, 12, 3), rows(20, 4), {"0": 5}),
    "channels and a batch norm": (conv, inputs("conv"), {"0": 4, "3": 3}),
    "depthwise": (depthwise, inputs("depthwise"), {"0": 4}),
    "heads": (Attending, inputs("heads"), {"attention": 2}),
}


def pair(name):
    build, x, widths = PAIRS[name]
    wide = seeded(build).double().eval()
    return wide, compress_baseline(wide, widths, calibration=x, method="random").model


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_and_its_slim_form_are_a_pair(name):
    wide, slim = pair(name)
    check_shared_plan(wide, slim)
    check_shared_plan(nn.DataParallel(wide), nn.DataParallel(slim))
    with pytest.raises(ValueError, match=r"original: block .* should have \d+ neurons .*, found \d+"):
        check_shared_plan(slim, slim)
    mixed = copy.deepcopy(wide)
    attach_plan(mixed, plan_of(slim))
    with pytest.raises(ValueError, match=r"slim: block .* should have \d+ neurons .*, found \d+"):
        check_shared_plan(wide, mixed)
    with pytest.raises(ValueError, match="is folded, which trains otherwise"):
        check_shared_plan(wide, fold(slim))


def test_other_models_are_refused():
    wide, slim = pair("neurons")
    with pytest.raises(ValueError, match="found no such layer"):
        check_shared_plan(nn.Sequential(nn.ReLU()), slim)
    with pytest.raises(TypeError, match=r"slim: expected a torch.nn.Module, got str"):
        check_shared_plan(wide, "slim")
    grown = copy.deepcopy(slim)
    grown.extra = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"'extra' of shape .* has no equal in the original"):
        check_shared_plan(wide, grown)
