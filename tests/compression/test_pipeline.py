"""The pipe: blocks in their order, what stays, what a plan says."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress import prepare
from jlab_compress.compression.fits.aims import AIMS, BASELINES
from jlab_compress.compression.pipeline import Settings, narrow, plan_block, shrink
from jlab_compress.compression.widths.request import Resolved
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.fitting.aims import dynamics
from jlab_compress.fitting.aims.baselines import nnls_outputs
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer
from jlab_compress.slim.units import tensor_of
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from tests.models import mlp, rows, seeded
from tests.quick import FAST, X

NET = mlp(6, 40, 30, 3)
PREPARED = prepare(NET, X)


def narrowed(widths, aim=BASELINES["greedy"], prepared=PREPARED, **settings):
    slim = copy.deepcopy(prepared.original)
    return narrow(prepared, slim, widths, aim, Settings(effort=FAST, **settings)), slim


def test_blocks_are_done_in_the_order_in_which_they_run():
    made, slim = narrowed({"2": 7, "0": 9})
    assert [(block.name, block.width_after) for block in made.plan.blocks] == [("0", 9), ("2", 7)]
    assert (slim[0].out_features, slim[2].in_features, slim[2].out_features) == (9, 9, 7)
    x, y = (call.args[0] for call in (*PREPARED.fit, *PREPARED.held))
    with torch.no_grad():
        assert made.evaluation.function_gap == pytest.approx(float((slim(y) - NET(y)).norm() / NET(y).norm()))
        alone = narrowed({"0": 9})[1]
        kept = torch.tensor(made.plan.blocks[1].indices)
        assert torch.equal(slim[0].weight, alone[0].weight)
        assert torch.equal(slim[2].weight, alone[2].weight[kept])
        assert not torch.allclose(slim(x), NET(x))


def test_the_prepared_copy_stays_as_it_was():
    before = {name: value.clone() for name, value in PREPARED.original.state_dict().items()}
    shrink(PREPARED, Resolved({"0": 9, "2": 7}), AIMS["function"], Settings(effort=FAST))
    assert all(torch.equal(value, before[name]) for name, value in PREPARED.original.state_dict().items())


def test_notes_on_the_widths_come_with_the_report():
    made = shrink(PREPARED, Resolved({"0": 9}, ("a word on widths",)), BASELINES["random"], Settings())
    assert made.report.notes[-1] == "a word on widths"
    assert made.plan.preserve == "random"


def test_a_scratch_copy_serves_several_narrowings_with_the_same_result():
    scratch = copy.deepcopy(NET)
    before, gaps = Snapshot.of(scratch), []
    for _ in range(2):
        gaps.append(
            narrow(PREPARED, scratch, {"0": 9}, BASELINES["k-means"], Settings()).evaluation.function_gap
        )
        before.put_back()
    other, _ = narrowed({"0": 9}, BASELINES["k-means"])
    assert gaps == [other.evaluation.function_gap] * 2


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("counts", [(1.0, 1.0), (3.0, 2.0)])
def test_a_plan_holds_multiplicities_that_no_layer_holds(plain, counts):
    layer = Layer((torch.ones(2, 6),), (None,), torch.ones(2, 3), None, torch.ones(2), torch.relu)
    fit = Fit(layer, torch.tensor([4, 1]), "some", 0.1)
    plan = plan_block(PREPARED.blocks[0], fit, counts, plain)
    assert (plan.indices, plan.width_after, plan.method) == ((4, 1), 2, "some")
    assert plan.multiplicities == (counts if plain and counts != (1.0, 1.0) else None)
    assert plan.gauge == ("plain" if plain and counts != (1.0, 1.0) else "weighted")


def with_dead_and_copied(net, maker, reader):
    """Make the first half of the units zero, and those after it come in twos, in place."""
    made, read = net[maker], net[reader]
    n = len(made.weight)
    alive = n // 2 + torch.arange(n - n // 2) // 2
    index = torch.cat([torch.zeros(n // 2, dtype=torch.long), alive])
    with torch.no_grad():
        for part, axis in ((made.weight, 0), (made.bias, 0), (read.weight, 1)):
            part.copy_(part.index_select(axis, index))
            part.narrow(axis, 0, n // 2).zero_()
    return net


def dense_net():
    return with_dead_and_copied(mlp(6, 60, 3, activation=nn.Tanh), 0, 2), X, {"0": 14}


def deep_net():
    net = mlp(6, 24, 20, 3, activation=nn.ReLU)
    return with_dead_and_copied(with_dead_and_copied(net, 0, 2), 2, 4), X, {"0": 5, "2": 5}


def conv_net():
    layers = (nn.Conv2d(2, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 3, 3), nn.Flatten())
    net = seeded(nn.Sequential, *layers).double().eval()
    return with_dead_and_copied(net, 0, 3), rows(40, 2, 6, 6), {"0": 4}


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def head_net():
    """Its first two heads are copies of each other."""
    net = seeded(Attending).double()
    with torch.no_grad():
        for start in (0, 12, 24):
            net.attention.in_proj_weight[start : start + 3] = net.attention.in_proj_weight[
                start + 3 : start + 6
            ]
        net.attention.out_proj.weight[:, :3] = net.attention.out_proj.weight[:, 3:6]
    return net, rows(40, 5, 12), {"attention": 3}


NEURONS_ONLY = ("k-means", "interpolative")
CASES = [(build, aim) for build in (dense_net, deep_net, conv_net) for aim in (*AIMS, *BASELINES)]
CASES += [(head_net, aim) for aim in (*AIMS, *BASELINES) if aim not in NEURONS_ONLY]
CASES = [(build, aim) for build, aim in CASES if aim != "moments" or build is dense_net]


@pytest.mark.parametrize(("build", "aim"), CASES)
def test_indices_name_the_rows_of_the_original_that_were_kept(build, aim):
    """Dead and copied units in front lead every other count astray."""
    net, x, widths = build()
    made = shrink(prepare(net, x), Resolved(widths), {**AIMS, **BASELINES}[aim], Settings(effort=FAST))
    first = made.plan.blocks[0]  # the inputs of the others are no longer the original's
    moved = first.method in ("moved nodes", "k-means merge", "joint distillation", "NTK matching")
    assert moved == (first.indices is None)
    for unit in () if moved else first.making_axes:
        kept = unit.select(tensor_of(net, unit), torch.tensor(first.indices))
        assert torch.equal(tensor_of(made.model, unit), kept), unit.name


def test_each_kept_neuron_takes_its_own_momentum_along(monkeypatch):
    monkeypatch.setattr(dynamics, "_moved_from", lambda *_: [])
    monkeypatch.setattr(dynamics, "PLAIN_FITS", (nnls_outputs,))
    net, x, widths = dense_net()
    old = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    F.mse_loss(net(x), x[:, :3]).backward()
    old.step()
    made = shrink(prepare(net, x), Resolved(widths), AIMS["dynamics"], Settings(effort=FAST))
    indices = made.plan.blocks[0].indices
    new = transfer_optimizer(old, net, made.model)
    for name, rows_of in (("weight", net[0].weight), ("bias", net[0].bias)):
        momentum = new.state[getattr(made.model[0], name)]["momentum_buffer"]
        assert torch.equal(momentum, old.state[rows_of]["momentum_buffer"][list(indices)])
        assert bool(momentum.any())


def test_norms_of_merged_neurons_get_the_statistics_of_what_reaches_them():
    net = (
        seeded(nn.Sequential, nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        .double()
        .eval()
    )
    net[1].running_mean.uniform_(generator=torch.Generator().manual_seed(0))
    prepared = prepare(net, X)
    _, slim = narrowed({"0": 4}, BASELINES["k-means"], prepared)
    rows = torch.cat([call.args[0] for call in prepared.fit])
    with torch.no_grad():
        entering = slim[0](rows)
    assert torch.allclose(slim[1].running_mean, entering.mean(dim=0))
    assert torch.allclose(slim[1].running_var, entering.var(dim=0, unbiased=False))
