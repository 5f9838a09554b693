"""Adam's rates in the plain gauge and by measurement, and what reports say of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.plan import Plan
from jlab_compress.training.adam_rates import adam_rate_factors, gauge_factors, scale_rates
from tests.models import mlp, repeat_units
from tests.training.test_optimizer_transfer import TOLERANCE, X, Y, gap, make_slim, make_wide, train


def test_twin_adam_without_the_plain_gauges_factors_moves_otherwise():
    counts = (3, 3, 3, 3, 3)
    wide = make_wide(counts, nn.ReLU)
    slim = make_slim(wide, counts, plain=True)
    for model in (wide, slim):
        train(model, torch.optim.AdamW(model.parameters(), 1e-3), 50)
    assert gap(wide, slim) > 1e-3


def test_sgd_needs_nothing_in_the_plain_gauge_also_with_unequal_multiplicities():
    wide = make_wide(activation=nn.ReLU)
    slim = make_slim(wide, plain=True)
    for model in (wide, slim):
        optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=1e-2)
        train(model, optimizer, 200)
    assert gap(wide, slim) < TOLERANCE
    tanh = make_wide()
    wrong = make_slim(tanh, plain=True)
    assert gap(tanh, wrong) > 1e-2


def test_rate_factors_by_gauge_and_by_measurement():
    counts = (4, 4, 4, 4, 4)
    wide = make_wide(counts, nn.ReLU)
    weighted, plain = make_slim(wide, counts), make_slim(wide, counts, plain=True)
    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    names = ["0.bias", "0.weight", "2.weight"]
    assert adam_rate_factors(wide, weighted) == dict.fromkeys(names, 1.0)
    assert adam_rate_factors(wide, plain) == dict.fromkeys(names, 2.0)
    for slim, factor in ((weighted, 1.0), (plain, 2.0)):
        measured = adam_rate_factors(wide, slim, batches=batches, loss_fn=F.mse_loss)
        assert measured == pytest.approx(dict.fromkeys(names, factor), rel=1e-9)
    few = compress_baseline(wide, 3, calibration=X, method="magnitude").model
    measured = adam_rate_factors(wide, few, batches=batches, loss_fn=F.mse_loss)
    assert max(abs(f - 1) for f in measured.values()) > 0.01


@pytest.mark.parametrize("method", ["greedy", "magnitude"])
def test_single_neurons_are_in_no_gauge_that_asks_for_another_rate(method):
    wide = mlp(4, 12, 3, activation=nn.GELU)
    slim = compress_baseline(wide, 5, calibration=X, method=method).model
    (block,) = plan_of(slim).blocks
    assert type(slim[0]) is nn.Linear, "all c should be 1 here"
    assert (block.gauge, block.multiplicities, gauge_factors(slim)) == ("weighted", None, {})
    assert plan_of(fold(slim)).blocks[0].gauge == "weighted", "there is nothing to fold"
    attach_plan(slim, Plan((replace(block, gauge="plain"),)))
    assert gauge_factors(slim) == {}, "a plan written so by an older version"
    made = compress_baseline_plain(mlp(4, 12, 3))
    plain = made.model
    said = [note for note in made.report.notes if "adam_rate_factors" in note]
    assert len(said) == 1
    assert said[0].startswith("Plain gauge, block 0: SGD needs nothing.")
    assert "sqrt(n / s) = 2," in said[0]
    assert plan_of(plain).blocks[0].gauge == "plain"
    assert set(gauge_factors(plain).values()) == {2.0}


def compress_baseline_plain(net):
    repeat_units([net[0]], net[2], 4)
    return compress(net, 12, calibration=X, plain=True, progress=False)


def test_scaling_rates_touches_what_it_says():
    counts = (4, 4, 4, 4, 4)
    wide = make_wide(counts, nn.ReLU)
    slim = make_slim(wide, counts, plain=True)
    decoupled, coupled = (kind(slim.parameters(), 1e-3, weight_decay=0.1, eps=1e-6)
                          for kind in (torch.optim.AdamW, torch.optim.Adam))  # fmt: skip
    for optimizer in (decoupled, coupled):
        scale_rates(optimizer, slim, gauge_factors(slim))
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert owned == {id(p) for p in slim.parameters()}
    found = {(g["lr"], g["weight_decay"], g["eps"], len(g["params"])) for g in decoupled.param_groups}
    assert found == {(2e-3, 0.05, 2e-6, 3), (1e-3, 0.1, 1e-6, 1)}
    assert {g["weight_decay"] for g in coupled.param_groups} == {0.1}
