"""Optimizers carried over in the middle of training, and Adam's rates in other gauges."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.plain import plain_gauge
from jlab_compress.compression.prepare import prepare
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.surgery import write_layer
from jlab_compress.training.adam_rates import adam_rate_factors, scale_rates
from jlab_compress.training.gradient_sums import clip_grad_norm_, copies_of
from jlab_compress.training.matching import match_neurons
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from tests.models import mlp, neurons, repeat_units, rows

COUNTS = (3, 1, 4, 2, 6)
TOLERANCE = 1e-9
X = rows(40, 4)
Y = torch.stack([X[:, 0] * X[:, 1], X[:, 2].sin(), X[:, 3]], -1)


def make_wide(counts=COUNTS, activation=nn.Tanh):
    few = mlp(4, len(counts), 3, activation=activation)
    copies = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    layer = read_layer(few, neurons(few), torch.tanh).select(copies)
    write_layer(few, neurons(few), replace(layer, outgoing=layer.outgoing / 3))
    return few


def make_slim(wide, counts=COUNTS, *, indices=True, plain=False):
    """Keep the first copy of each neuron of the wide net as it is now."""
    kept = [sum(counts[:j]) for j in range(len(counts))]
    slim = copy.deepcopy(wide)
    multiplicities = torch.tensor(counts, dtype=torch.float64)
    layer = read_layer(wide, neurons(wide), torch.relu).select(torch.tensor(kept), multiplicities)
    write_layer(slim, neurons(slim), plain_gauge(layer) if plain else layer)
    block = BlockPlan(
        "0", "mlp", neurons(wide).units, sum(counts), len(counts), "exact", "plain" if plain else "weighted",
        indices=tuple(kept) if indices else None,
        multiplicities=tuple(multiplicities.tolist()) if plain else None,
    )  # fmt: skip
    attach_plan(slim, Plan((block,)))
    return slim


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        part = slice(10 * (step % 4), 10 * (step % 4) + 10)
        optimizer.zero_grad()
        F.mse_loss(model(X[part]), Y[part]).backward()
        optimizer.step()


def groups(model, **options):
    return [
        {"params": [model[0].weight, model[2].weight], **options},
        {"params": [model[2].bias, model[0].bias], "lr": 2e-3},
    ]


OPTIMIZERS = {
    "SGD, momentum": lambda m: torch.optim.SGD(groups(m), 0.02, momentum=0.9, weight_decay=1e-2),
    "Adam, amsgrad": lambda m: torch.optim.Adam(groups(m), 1e-2, amsgrad=True),
    "AdamW": lambda m: torch.optim.AdamW(groups(m, weight_decay=0.2), 1e-2),
    "RMSprop": lambda m: torch.optim.RMSprop(groups(m), 1e-3, momentum=0.5, centered=True),
    "Adagrad": lambda m: torch.optim.Adagrad(groups(m), 1e-2),
    "Rprop": lambda m: torch.optim.Rprop(groups(m), 1e-3),
    "Adamax": lambda m: torch.optim.Adamax(groups(m), 1e-2),
}


def gap(wide, slim):
    return (wide(X) - slim(X)).abs().max().item()


@pytest.mark.parametrize("indices", [True, False], ids=["kept neurons", "nearest neurons"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_nothing_had_happened(name, indices):
    wide = make_wide()
    old = OPTIMIZERS[name](wide)
    train(wide, old, 50)
    slim = make_slim(wide, indices=indices)
    new = transfer_optimizer(old, wide, slim)
    assert type(new) is type(old)
    assert gap(wide, slim) < TOLERANCE
    train(wide, old, 200, first=50)
    train(slim, new, 200, first=50)
    assert gap(wide, slim) < TOLERANCE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twin_a_fresh_optimizer_forgets(name):
    wide = make_wide()
    old = OPTIMIZERS[name](wide)
    train(wide, old, 50)
    slim = make_slim(wide)
    train(wide, old, 200, first=50)
    train(slim, OPTIMIZERS[name](slim), 200, first=50)
    assert gap(wide, slim) > 1e-6


def test_the_old_optimizer_would_silently_move_nothing():
    """What happens where a tool swaps parameters under a running optimizer: no error and no training."""
    wide = make_wide()
    old = OPTIMIZERS["AdamW"](wide)
    train(wide, old, 20)
    slim = make_slim(wide)
    before = copy.deepcopy(slim.state_dict())
    train(slim, old, 20)
    assert all(torch.equal(before[name], value) for name, value in slim.state_dict().items())
    train(slim, transfer_optimizer(old, wide, slim), 1)
    assert not torch.equal(before["0.weight"], slim[0].weight)


def test_groups_options_and_states_are_copies():
    wide = make_wide()
    old = OPTIMIZERS["AdamW"](wide)
    train(wide, old, 5)
    state_before = copy.deepcopy(old.state_dict())
    slim = make_slim(wide)
    new = transfer_optimizer(old, wide, slim)
    assert [len(g["params"]) for g in new.param_groups] == [2, 2]
    assert [(g["lr"], g["weight_decay"]) for g in new.param_groups] == [(1e-2, 0.2), (2e-3, 1e-2)]
    assert new.state[slim[0].weight]["exp_avg"].shape == (5, 4)
    assert new.state[slim[2].weight]["exp_avg"].shape == (3, 5)
    assert new.state[slim[0].weight]["step"] == 5
    train(slim, new, 5)
    torch.testing.assert_close(old.state_dict()["state"], state_before["state"], rtol=0, atol=0)


def test_a_scheduler_of_the_old_optimizer_stays_behind():
    wide = make_wide()
    old = OPTIMIZERS["AdamW"](wide)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(old, 0.5)
    train(wide, old, 3)
    scheduler.step()
    slim = make_slim(wide)
    new = transfer_optimizer(old, wide, slim)
    assert new.param_groups[0]["lr"] == 5e-3
    train(slim, new, 1)
    torch.optim.lr_scheduler.ExponentialLR(new, 0.5).step()
    assert (new.param_groups[0]["lr"], old.param_groups[0]["lr"]) == (2.5e-3, 5e-3)


def test_an_optimizer_class_of_the_caller():
    class Slow(torch.optim.SGD):
        def __init__(self, parameters, lr):
            super().__init__(parameters, lr, momentum=0.9)
            self.pace = 2

    wide = make_wide()
    old = Slow(wide.parameters(), 0.01)
    train(wide, old, 3)
    slim = make_slim(wide)
    new = transfer_optimizer(old, wide, slim)
    assert new.pace == 2
    train(wide, old, 20)
    train(slim, new, 20)
    assert gap(wide, slim) < TOLERANCE


@pytest.mark.parametrize("name", ["SGD, momentum", "Adam, amsgrad", "AdamW"])
def test_the_plain_gauge_takes_its_state_along(name):
    counts = (3, 3, 3, 3, 3)
    wide = make_wide(counts, nn.ReLU)
    old = OPTIMIZERS[name](wide)
    train(wide, old, 50)
    slim = make_slim(wide, counts, plain=True)
    assert isinstance(slim[0], nn.Linear)
    assert type(slim[0]) is nn.Linear
    new = transfer_optimizer(old, wide, slim)
    if not name.startswith("SGD"):
        scale_rates(new, slim, adam_rate_factors(wide, slim))
    train(wide, old, 200, first=50)
    train(slim, new, 200, first=50)
    assert gap(wide, slim) < TOLERANCE


def test_copies_multiply_where_two_blocks_meet():
    net = mlp(4, 12, 9, 3, activation=nn.Tanh)
    slim = compress_baseline(net, {"0": 4, "2": 3}, calibration=X, method="random").model
    copies = copies_of(slim)
    assert copies["0.weight"].shape == (4, 1)
    torch.testing.assert_close(copies["2.weight"].sum(), torch.tensor(12.0 * 9).double())
    assert set(copies) == {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight"}
    assert copies_of(net) == {}


def test_clipping_a_model_without_slim_layers_is_torchs():
    nets = [mlp(4, 6, 3) for _ in range(2)]
    for net in nets:
        F.mse_loss(net(X), Y).backward()
    ours = clip_grad_norm_(nets[0], 0.1)
    assert float(ours) == pytest.approx(float(nn.utils.clip_grad_norm_(nets[1].parameters(), 0.1)), rel=1e-12)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert float(clip_grad_norm_(mlp(4, 6, 3), 0.1)) == 0.0


def test_refusals():
    wide = make_wide()
    slim = make_slim(wide)
    old = torch.optim.SGD(wide.parameters(), 0.1, momentum=0.9)
    with pytest.raises(TypeError, match="state by parameter, got LBFGS"):
        transfer_optimizer(torch.optim.LBFGS(wide.parameters()), wide, slim)
    with pytest.raises(TypeError, match="got str"):
        transfer_optimizer("SGD", wide, slim)
    with pytest.raises(ValueError, match="is not of the original model"):
        transfer_optimizer(torch.optim.SGD(mlp(2, 2).parameters(), 0.1), wide, slim)
    with pytest.raises(ValueError, match="no compression plan"):
        transfer_optimizer(old, wide, wide)
    with pytest.raises(ValueError, match="'0' is folded"):
        transfer_optimizer(old, wide, fold(slim))
    with pytest.raises(TypeError, match="expected a model or parameters, got str"):
        clip_grad_norm_(["0.weight"], 1.0)
    with pytest.raises(ValueError, match="expected it together with batches"):
        adam_rate_factors(wide, slim, loss_fn=F.mse_loss)
    with pytest.raises(ValueError, match="no gradient reaches"):
        adam_rate_factors(wide, slim, batches=[(X, Y)], loss_fn=lambda o, t: (o * 0).sum())
    slim[0].weight.grad = torch.full_like(slim[0].weight, float("nan"))
    with pytest.raises(RuntimeError, match="gradients' norm is nan"):
        clip_grad_norm_(slim, 1.0, error_if_nonfinite=True)


def test_what_is_no_pair_of_models_is_refused():
    wide = mlp(4, 30, 3)
    optimizer = torch.optim.SGD(wide.parameters(), 0.05)
    with pytest.raises(TypeError, match=r"^original: expected a torch\.nn\.Module, got Prepared"):
        transfer_optimizer(optimizer, prepare(wide, X), wide)
    with pytest.raises(TypeError, match=r"^slim: expected a torch\.nn\.Module, got str"):
        transfer_optimizer(optimizer, wide, "slim")


def test_a_state_of_unknown_shape_or_gauge_is_refused():
    wide = make_wide(activation=nn.ReLU)
    old = torch.optim.SGD(wide.parameters(), 0.1, momentum=0.9)
    train(wide, old, 2)
    old.state[wide[0].weight]["sketch"] = torch.zeros(7, 2)
    with pytest.raises(ValueError, match=r"state 'sketch' of shape \(7, 2\) does not go neuron by neuron"):
        transfer_optimizer(old, wide, make_slim(wide))
    old.state[wide[0].weight]["sketch"] = torch.zeros_like(wide[0].weight)
    assert plan_of(make_slim(wide)).blocks[0].gauge == "weighted"
    transfer_optimizer(old, wide, make_slim(wide))
    with pytest.raises(ValueError, match="'sketch' changes in the plain gauge is not known"):
        transfer_optimizer(old, wide, make_slim(wide, plain=True))


def test_two_blocks_in_a_row_are_carried_over_without_indices():
    """The layer between them loses rows to one block and columns to the other; nodes count as moved."""
    wide = mlp(4, 5, 3, 3, activation=nn.Tanh)
    repeat_units([wide[0]], wide[2], 4)
    repeat_units([wide[2]], wide[4], 3)
    slim = compress_baseline(wide, {"0": 5, "2": 3}, calibration=X, method="random").model
    plan = plan_of(slim)
    attach_plan(slim, replace(plan, blocks=tuple(replace(block, indices=None) for block in plan.blocks)))
    old = torch.optim.AdamW(wide.parameters(), 1e-2)
    train(wide, old, 50)
    train(slim, torch.optim.AdamW(slim.parameters(), 1e-2), 50)
    assert gap(wide, slim) < TOLERANCE
    new = transfer_optimizer(old, wide, slim)
    assert new.state[slim[2].weight]["exp_avg"].shape == (3, 5)
    train(wide, old, 200, first=50)
    train(slim, new, 200, first=50)
    assert gap(wide, slim) < TOLERANCE


def test_moved_nodes_take_the_mean_of_their_nearest_neurons():
    wide = mlp(4, 30, 3, activation=nn.Tanh)
    old = torch.optim.SGD(wide.parameters(), 0.05, momentum=0.9)
    train(wide, old, 20)
    slim = compress_baseline(wide, 6, calibration=X, method="k-means").model
    (match,) = match_neurons(wide, slim)
    assert torch.allclose(match.shares.sum(1), torch.ones(6).double())
    assert bool((match.shares > 0).any(1).all())
    assert int((match.shares > 0).sum()) >= 30
    new = transfer_optimizer(old, wide, slim)
    momentum = old.state[wide[0].weight]["momentum_buffer"]
    torch.testing.assert_close(
        new.state[slim[0].weight]["momentum_buffer"], match.shares.to(momentum) @ momentum
    )


class PerEntry(torch.optim.Optimizer):
    """Drives another optimizer as SAM does, by gradients a step uphill that no sum over parameters scales."""

    def __init__(self, parameters, base, keeps=False, **options):
        super().__init__(parameters, options)
        self.base_optimizer = base(self.param_groups, **options)
        self.param_groups, self.keeps = self.base_optimizer.param_groups, keeps
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def step(self, closure):
        closure = torch.enable_grad()(closure)
        closure()
        owned = [p for group in self.param_groups for p in group["params"]]
        olds = [p.data.clone() for p in owned]
        for p in owned:
            p.add_(p.grad, alpha=0.05)
        self.zero_grad()
        closure()
        for p, old in zip(owned, olds, strict=True):
            p.data = old
            self.state[p] = {"old_p": old.clone()} if self.keeps else {}
        self.base_optimizer.step()


def drive(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        part = slice(10 * (step % 4), 10 * (step % 4) + 10)

        def closure(part=part):
            optimizer.zero_grad()
            value = F.mse_loss(model(X[part]), Y[part])
            value.backward()
            return value

        optimizer.step(closure)


def test_an_optimizer_that_drives_another_takes_it_along():
    wide = make_wide()
    old = PerEntry(wide.parameters(), torch.optim.SGD, lr=0.02, momentum=0.9)
    drive(wide, old, 30)
    slim = make_slim(wide)
    new = transfer_optimizer(old, wide, slim)
    assert type(new.base_optimizer) is torch.optim.SGD
    assert new.base_optimizer.param_groups is new.param_groups
    assert all("momentum_buffer" in new.base_optimizer.state[p] for p in slim.parameters())
    before = copy.deepcopy(slim.state_dict())
    drive(wide, old, 100, first=30)
    drive(slim, new, 100, first=30)
    assert gap(wide, slim) < TOLERANCE
    assert not torch.equal(before["0.weight"], slim[0].weight)


def test_a_driver_that_keeps_copies_of_weights_is_refused():
    wide = make_wide()
    old = PerEntry(wide.parameters(), torch.optim.SGD, keeps=True, lr=0.02)
    drive(wide, old, 5)
    with pytest.raises(ValueError, match="its state 'old_p' is a copy of weights"):
        transfer_optimizer(old, wide, make_slim(wide))


class Lookahead(torch.optim.Optimizer):
    """Slow weights that follow those of another optimizer, in a list beside the groups or in the state."""

    def __init__(self, optimizer, *, in_state):
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer, self.in_state = optimizer, in_state
        self.param_groups, self.state = optimizer.param_groups, optimizer.state
        if not in_state:
            self.slow_weights = [[p.detach().clone() for p in g["params"]] for g in self.param_groups]

    def step(self, closure=None):
        self.optimizer.step(closure)
        for group in self.param_groups if self.in_state else ():
            for p in group["params"]:
                self.state[p].setdefault("slow", p.detach().clone()).lerp_(p.detach(), 0.5)


@pytest.mark.parametrize(
    ("in_state", "words"),
    [
        (False, r"a tensor of shape \(15, 4\) under 'slow_weights'"),
        (True, "'slow' is a copy of weights"),
    ],
)
def test_slow_weights_are_refused(in_state, words):
    wide = make_wide((3, 3, 3, 3, 3))
    old = Lookahead(torch.optim.SGD(wide.parameters(), 0.02, momentum=0.9), in_state=in_state)
    train(wide, old, 3)
    with pytest.raises(ValueError, match=words):
        transfer_optimizer(old, wide, make_slim(wide, (3, 3, 3, 3, 3)))


def test_slow_weights_that_do_not_exist_yet_are_those_of_the_slim_model():
    wide = make_wide()
    old = Lookahead(torch.optim.SGD(wide.parameters(), 0.02, momentum=0.9), in_state=True)
    slim = make_slim(wide)
    new = transfer_optimizer(old, wide, slim)
    assert new.param_groups is new.optimizer.param_groups
    assert new.state is new.optimizer.state
    train(slim, new, 3)
    assert [v["slow"].shape for v in new.state.values()] == [p.shape for p in slim.parameters()]


class Bound(torch.optim.SGD):
    """Steps by a function that was made for the parameters that it was given."""

    def __init__(self, parameters, lr):
        parameters = list(parameters)
        super().__init__(parameters, lr)
        self.move = lambda: [p.data.sub_(0.1 * p.grad) for p in parameters]

    def step(self, closure=None):
        self.move()


class Failing(torch.optim.SGD):
    """Cannot take a step by itself."""

    def step(self, closure=None):
        raise RuntimeError("call first_step and second_step")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Bound, "a trial step of Bound on copies moves nothing; start a new optimizer"),
        (Failing, "a trial step of Failing on copies fails .RuntimeError: call first_step and second_step"),
    ],
)
def test_a_step_on_copies_shows_what_would_not_train(kind, words):
    wide = make_wide()
    F.mse_loss(wide(X), Y).backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in wide.parameters()]
    with pytest.raises(ValueError, match=words):
        transfer_optimizer(kind(wide.parameters(), 0.1), wide, make_slim(wide))
    for parameter, (value, gradient) in zip(wide.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, gradient)


def test_rates_of_zero_and_frozen_parameters_may_stay():
    wide = make_wide()
    wide[2].requires_grad_(False)
    assert transfer_optimizer(torch.optim.SGD(wide.parameters(), 0.0), wide, make_slim(wide))
    assert transfer_optimizer(torch.optim.AdamW(wide.parameters(), 0.1), wide, make_slim(wide))
