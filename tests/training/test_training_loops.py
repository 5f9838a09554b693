"""Real training loops on neurons that are repeated: the slim model moves as each copy would.

Each rule has a twin that breaks it and must fail.
"""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from jlab_compress.slim.conversion import fold
from tests.repeated import EQUAL, STEPS, TOLERANCE, UNEQUAL, Pair, batch, both, sgd, train, undivided

EXACT = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05),
    "SGD, nesterov, decay": lambda p: torch.optim.SGD(p, 0.02, 0.9, weight_decay=1e-2, nesterov=True),
    "SGD, dampening": lambda p: torch.optim.SGD(p, 0.05, 0.9, dampening=0.3, foreach=False),
    "Adam": lambda p: torch.optim.Adam(p, 1e-2),
    "Adam, amsgrad, L2": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True, weight_decay=1e-2),
    "Adam, fused": lambda p: torch.optim.Adam(p, 1e-2, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, 1e-2, weight_decay=0.1, decoupled_weight_decay=True),
    "RAdam": lambda p: torch.optim.RAdam(p, 1e-2),
    "Adamax": lambda p: torch.optim.Adamax(p, 1e-2),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 1e-2, lr_decay=1e-3),
    "Adadelta": lambda p: torch.optim.Adadelta(p, 1.0),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.5, centered=True),
    "Rprop": lambda p: torch.optim.Rprop(p, 1e-3),
    "ASGD": lambda p: torch.optim.ASGD(p, 1e-2),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_slim_model_moves_like_each_copy(name):
    pair = Pair()
    start = copy.deepcopy(pair.slim)
    assert both(pair, optimizer=EXACT[name]) < TOLERANCE
    moved = max(
        (a - b).abs().max().item() for a, b in zip(start.parameters(), pair.slim.parameters(), strict=True)
    )
    assert moved > 1e-2


@pytest.mark.parametrize("name", EXACT)
def test_twin_a_folded_model_moves_otherwise(name):
    pair = Pair()
    train(pair, pair.wide, optimizer=EXACT[name])
    folded = fold(pair.slim)
    torch.testing.assert_close(folded(pair.x), pair.slim(pair.x))
    train(pair, folded, optimizer=EXACT[name])
    gap = (folded(pair.x) - pair.wide(pair.x)).abs().max().item()
    assert gap > 1e-5


def test_twin_undivided_gradients_move_otherwise():
    pair = Pair()
    undivided(pair.slim)
    assert both(pair) > 1e-3


# LBFGS sums over all parameters, Muon mixes the rows of a matrix: no division by c can make up for that.
NEVER = {
    "LBFGS": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=2),
    "Muon": lambda p: torch.optim.Muon([q for q in p if q.dim() == 2], 1e-2),
}


@pytest.mark.parametrize("name", NEVER)
def test_optimizers_that_cannot_be_exact_are_not(name):
    pair = Pair(EQUAL)
    for model in (pair.wide, pair.slim):
        optimizer = NEVER[name](list(model.parameters()))
        for step in range(10):
            x, y = batch(pair, step)

            def closure(model=model, optimizer=optimizer, x=x, y=y):
                optimizer.zero_grad()
                value = F.mse_loss(model(x), y)
                value.backward()
                return value

            optimizer.step(closure)
    assert pair.distance() > 1e-4


def test_adafactor_is_exact_for_equal_multiplicities_only():
    adafactor = lambda p: torch.optim.Adafactor(p, 1e-2)  # noqa: E731
    assert both(Pair(EQUAL), optimizer=adafactor) < TOLERANCE
    assert both(Pair(UNEQUAL), optimizer=adafactor) > 1e-4


SCHEDULES = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=STEPS + 1),
    "warm-up": lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, (t + 1) / 20)),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=3),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedulers_drive_both(name):
    def scheduled(pair, model, schedule):
        made = sgd(model.parameters())
        scheduler = schedule(made)
        for step in range(STEPS):
            made.zero_grad()
            x, y = batch(pair, step)
            value = F.mse_loss(model(x), y)
            value.backward()
            made.step()
            scheduler.step(*([value.item()] if name == "plateau" else []))

    pair, twin = Pair(), Pair()
    for model in (pair.wide, pair.slim):
        scheduled(pair, model, SCHEDULES[name])
    assert pair.distance() < TOLERANCE
    scheduled(twin, twin.wide, SCHEDULES[name])
    train(twin, twin.slim)
    assert twin.distance() > 1e-4


def test_gradients_accumulate():
    def accumulated(model, x, y):
        for part in (slice(0, 4), slice(4, 8)):
            (F.mse_loss(model(x[part]), y[part]) / 3).backward()
        return F.mse_loss(model(x[8:]), y[8:]) / 3

    assert both(Pair(), loss=accumulated) < TOLERANCE
    pair = Pair()
    train(pair, pair.wide, loss=accumulated)
    train(pair, pair.slim, loss=lambda model, x, y: F.mse_loss(model(x[8:]), y[8:]) / 3)
    assert pair.distance() > 1e-3


POWERS = ((2, 1, 4, 2, 8), (2, 4, 1, 2))


def under_autocast(model, x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(x)
    return F.mse_loss(outputs.to(y.dtype), y)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_autocast_is_exact_where_bfloat16_is(name):
    """A factor that is a power of two rounds nothing, so c times one value is the sum over c copies."""
    pair = Pair(POWERS, torch.float32)
    assert both(pair, loss=under_autocast, optimizer=EXACT[name]) < TOLERANCE
    assert pair.slim[0].weight.dtype == pair.slim[0].weight.grad.dtype == torch.float32


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_autocast_rounds_other_multiplicities_to_bfloat16(name):
    assert both(Pair(UNEQUAL, torch.float32), loss=under_autocast, optimizer=EXACT[name]) < 0.01


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_twin_a_folded_model_moves_otherwise_under_autocast(name):
    pair = Pair(POWERS, torch.float32)
    folded = fold(pair.slim)
    for model in (pair.wide, folded):
        train(pair, model, loss=under_autocast, optimizer=EXACT[name])
    assert (folded(pair.x) - pair.wide(pair.x)).abs().max() > 0.1


def test_autocast_leaves_float64_exact():
    pair, broken = Pair(), Pair()
    assert both(pair, loss=under_autocast) < TOLERANCE
    undivided(broken.slim)
    assert both(broken, loss=under_autocast) > 1e-3


def test_frozen_layers_stay_and_the_others_follow():
    pair = Pair()
    for model in (pair.wide, pair.slim):
        model[2].requires_grad_(False)
    before = pair.slim[2].weight.clone()
    assert both(pair, optimizer=lambda p: sgd([q for q in p if q.requires_grad])) < TOLERANCE
    assert torch.equal(pair.slim[2].weight, before)
    twin = Pair()
    twin.wide[2].requires_grad_(False)
    assert both(twin, optimizer=lambda p: sgd([q for q in p if q.requires_grad])) > 1e-3


def test_an_average_of_weights_follows():
    pair = Pair()
    averages = [AveragedModel(model) for model in (pair.wide, pair.slim)]
    for model, average in zip((pair.wide, pair.slim), averages, strict=True):
        train(pair, model, after_step=lambda *_, a=average, m=model: a.update_parameters(m))
    a, b = (average(pair.x) for average in averages)
    torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)
    assert (a - pair.slim(pair.x)).abs().max() > 1e-3
