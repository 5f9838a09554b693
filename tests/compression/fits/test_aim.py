"""An aim from outside the package is a start and as many further stages as it likes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jlab_compress import Aim, compress, sweep
from jlab_compress.compression.fits.aims import BASELINES
from jlab_compress.compression.fits.evaluation import by_function_gap
from jlab_compress.compression.joint.task import DISTILLATION, Outcome
from jlab_compress.fitting.fit import Fit
from tests.models import mlp, rows, seeded
from tests.quick import FAST, X

NET = mlp(6, 40, 30, 3, activation=nn.Tanh)


def first_units(site, size):
    indices = torch.arange(size)
    return Fit(site.layer.select(indices), indices, "the first ones", 0.5)


def shrunk(aim, widths=8, net=NET, x=X):
    return compress(net, widths, calibration=x, preserve=aim, effort=FAST, progress=False)


def test_an_aim_from_outside_the_package_is_one_function():
    made = shrunk(Aim("first", first_units))
    assert torch.equal(made.model[0].weight, NET[0].weight[:8])
    assert torch.equal(made.model[2].weight, NET[2].weight[:8, :8])
    assert (made.plan.preserve, made.plan.blocks[0].method) == ("first", "the first ones")
    assert sweep(NET, [8], calibration=X, preserve=Aim("first", first_units), effort=FAST).forecasts


def test_stages_run_in_their_order_and_each_sees_what_the_one_before_it_made():
    calls = []

    def refine(site, size, fit):
        calls.append(("refine", site.block.name, size, fit.method))
        return replace(fit, method="refined")

    def joint(task, fits):
        calls.append(("joint", [block.name for block in task.blocks], {f.method for f in fits.values()}))
        task.slim[4].bias.data += 1.0
        return Outcome({name: replace(fit, method="moved") for name, fit in fits.items()}, ("it moved",))

    def evaluate(task, fits):
        calls.append(("evaluate", {f.method for f in fits.values()}))
        return replace(by_function_gap(task, fits), notes=("it was judged",))

    made = shrunk(Aim("mine", first_units, refine, joint, evaluate))
    assert calls == [
        ("refine", "0", 8, "the first ones"),
        ("refine", "2", 8, "the first ones"),
        ("joint", ["0", "2"], {"refined"}),
        ("evaluate", {"moved"}),
    ]
    assert torch.allclose(made.model[4].bias, NET[4].bias + 1.0)
    assert {block.method for block in made.plan.blocks} == {"moved"}
    assert made.report.notes[:2] == ("it moved", "it was judged")


def jointly(task, fits):
    return Outcome({name: replace(fit, method=DISTILLATION) for name, fit in fits.items()})


@pytest.mark.parametrize("worse", ["other", "own"])
def test_the_aims_own_evaluation_says_whether_another_is_taken(worse):
    def evaluate(task, fits):
        found = by_function_gap(task, fits)
        other = next(iter(fits.values())).method == "k-means merge"
        return replace(found, loss=float(other == (worse == "other")))

    other = replace(BASELINES["k-means"], evaluate=evaluate, label="the other")
    made = shrunk(Aim("own", first_units, joint=jointly, evaluate=evaluate, alternatives=(other,)))
    own = torch.equal(made.model[0].weight, NET[0].weight[:8])
    assert own == (worse == "other")
    assert any(note.startswith("The other was kept: ") for note in made.report.notes) != own


def test_another_is_not_tried_where_nothing_was_refined_jointly():
    def fail(site, size):
        pytest.fail("the other was tried")

    shrunk(Aim("own", first_units, alternatives=(Aim("other", fail),)))


def test_a_block_that_needs_the_network_has_a_start_of_its_own():
    names = []

    def network(site, size):
        names.append(site.block.name)
        return first_units(site, size)

    net = seeded(
        nn.Sequential,
        nn.Linear(6, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.Tanh(),
        nn.Linear(12, 3),
    ).eval()
    shrunk(Aim("mine", first_units, network_start=network), 4, net, X.float())
    assert names == ["0"]


def test_an_aim_without_a_start_for_heads_refuses_them():
    layer = seeded(nn.TransformerEncoderLayer, 12, 6, 16, 0.0, batch_first=True).double()
    with pytest.raises(ValueError, match=r"^block self_attn: only a run .* for which 'first' is not defined"):
        shrunk(Aim("first", first_units), {"self_attn": 3}, layer, rows(20, 4, 12))


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ({"name": ""}, "^Aim: expected a name such as 'function', got ''"),
        ({"name": 3}, "^Aim: expected a name such as 'function', got 3"),
        ({"start": None}, "^Aim 'own': start must be callable; got None"),
        ({"joint": "distill"}, "^Aim 'own': joint must be callable; got 'distill'"),
    ],
)
def test_what_is_no_aim_is_refused(stages, fault):
    with pytest.raises(TypeError, match=fault):
        Aim(**({"name": "own", "start": first_units} | stages))


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (
            lambda site, size: None,
            "^block 0: start and refine of the aim 'own' must return a Fit; got None",
        ),
        (lambda site, size: first_units(site, size + 1), "^block 0: .* at most the 8 units .*; got 9"),
    ],
)
def test_a_start_that_returns_no_fit_of_the_wanted_size_is_refused(start, fault):
    with pytest.raises(ValueError, match=fault):
        shrunk(Aim("own", start))
