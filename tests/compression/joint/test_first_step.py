import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.joint.first_step import first_step_gap
from jlab_compress.slim.conversion import fold
from tests.compression.joint.tasks import QUICK
from tests.compression.joint.test_distillation import calls, follows, model

__all__ = ["model"]
SEEN, OTHER = calls(1, 40), calls(2, 40)


def repeated(net):
    """A model each of whose neurons is there three times, and the slim one that counts them."""
    wide = copy.deepcopy(net)
    for up, down in zip(wide.up, wide.down, strict=True):
        up.weight, up.bias = (
            nn.Parameter(p.detach()[:6].repeat_interleave(3, 0)) for p in (up.weight, up.bias)
        )
        down.weight = nn.Parameter(down.weight.detach()[:, :6].repeat_interleave(3, 1))
        up.out_features = down.in_features = 18
    return wide, compress_baseline(wide, 6, calibration=SEEN[0].args[0], method="random").model


def test_repeated_neurons_take_the_same_step_and_uncounted_ones_do_not(model):
    wide, slim = repeated(model)
    assert slim.up[0].out_features == 6
    assert first_step_gap(wide, slim, SEEN, OTHER) < 0.01
    assert first_step_gap(wide, fold(slim), SEEN, OTHER) > 0.2


def test_the_same_model_has_no_gap_and_one_that_hardly_moves_a_gap_near_one(model):
    still = copy.deepcopy(model).requires_grad_(False)
    still.head.bias.requires_grad_()
    assert first_step_gap(model, copy.deepcopy(model), SEEN, OTHER) == 0
    assert first_step_gap(model, still, SEEN, OTHER) == pytest.approx(1.0, abs=0.1)


def test_better_widths_have_smaller_gaps(model):
    x = calls(3, 300)[0].args[0]
    gaps = [
        first_step_gap(model, compress_baseline(model, s, calibration=x, method="greedy").model, SEEN, OTHER)
        for s in (4, 12, 20)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 2 * gaps[2]


class Failing(nn.Module):
    """Fails as soon as its parameters have moved."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.first = inner, inner.head.bias.detach().clone()

    def forward(self, x):
        if not torch.equal(self.inner.head.bias, self.first):
            raise ValueError("moved")
        return self.inner(x)


def test_parameters_are_put_back_after_an_error_too(model):
    failing = Failing(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="moved"):
        first_step_gap(failing, failing, SEEN, OTHER)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Silent(nn.Module):
    """A model that lets no gradient through."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @torch.no_grad()
    def forward(self, x):
        return self.inner(x)


def test_a_model_that_lets_no_gradient_through_is_slimmed_and_not_judged(model):
    silent = Silent(model)
    assert first_step_gap(silent, silent, SEEN, OTHER) is None
    made = compress(silent, 12, calibration=calls(3, 300)[0].args[0], **QUICK)
    assert made.model.inner.up[0].out_features == 12
    assert follows(made) == {None}


def test_models_stay_and_half_precision_is_not_judged(model):
    before = copy.deepcopy(model.state_dict())
    first_step_gap(model, copy.deepcopy(model), SEEN, OTHER)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert first_step_gap(model.half(), model.half(), SEEN, OTHER) is None


def test_parameters_are_never_written_into_so_that_an_interrupt_cannot_leave_them_changed(model):
    memory = [(p.data, p.detach().clone()) for p in model.parameters()]
    kept = []
    model.register_forward_hook(
        lambda *_: kept.append(all(torch.equal(now, before) for now, before in memory))
    )
    first_step_gap(model, copy.deepcopy(model), SEEN, OTHER)
    assert len(kept) > 8
    assert all(kept)
