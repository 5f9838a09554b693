"""Real training loops on neurons that are repeated: the slim model moves as each copy would.

The wide net has two hidden layers whose neurons come in unequal numbers of copies, so the layer between
them both reads and makes neurons with multiplicities. After 200 steps in float64 every parameter of the
wide net must equal the slim one's to 1e-9. Each rule has a twin that breaks it and must fail.
"""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from jlab_compress.network.gradients import add_gradient_noise_, clip_grad_norm_, squared_norm
from jlab_compress.network.plan import BlockPlan, Plan
from jlab_compress.network.slim import attach_plan, fold
from jlab_compress.network.weighted import WeightedLinear
from tests.network.models import mlp, rows

STEPS = 200
TOLERANCE = 1e-9
UNEQUAL = ((3, 1, 4, 2, 6), (2, 5, 1, 3))
EQUAL = ((3, 3, 3, 3, 3), (3, 3, 3, 3))


class Pair:
    """A wide net, its slim form, data, and the measure of how far their parameters are apart."""

    def __init__(self, counts=UNEQUAL, dtype=torch.float64):
        few = mlp(4, 5, 4, 3, activation=nn.Tanh, dtype=dtype)
        with torch.no_grad():
            few[2].weight /= 3
            few[4].weight /= 3
        first, second = (torch.tensor(c) for c in counts)
        self.maps = {"0": (None, _copies(first)), "2": (_copies(first), _copies(second))}
        self.maps["4"] = (_copies(second), None)
        self.wide, self.slim = copy.deepcopy(few), nn.Sequential()
        for name, (read, made) in self.maps.items():
            layer = self.wide.get_submodule(name)
            layer.weight = nn.Parameter(_spread(_spread(layer.weight.detach(), made, 0), read, 1))
            layer.bias = nn.Parameter(_spread(layer.bias.detach(), made, 0))
        inner = {"0": (None, first), "2": (first, second), "4": (second, None)}
        for name, module in few.named_children():
            self.slim.append(_weighted(module, *inner[name]) if name in inner else module)
        plans = [_plan("0", "2", counts[0]), _plan("2", "4", counts[1])]
        attach_plan(self.slim, Plan(tuple(plans)))
        self.x = rows(48, 4).to(dtype)
        self.y = torch.stack([self.x[:, 0] * self.x[:, 1], self.x[:, 2].sin(), self.x[:, 3]], -1)

    def distance(self):
        slim, far = dict(self.slim.named_parameters()), 0.0
        for name, parameter in self.wide.named_parameters():
            read, made = self.maps[name[0]]
            value = _spread(slim[name].detach(), made, 0)
            value = _spread(value, read, 1) if name.endswith("weight") else value
            far = max(far, float((parameter.detach() - value).abs().max()))
        return far


def _copies(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def _spread(value, copies, axis):
    return value if copies is None else value.index_select(axis, copies)


def _plan(incoming, outgoing, counts):
    return BlockPlan(
        incoming, "mlp", (incoming,), outgoing, sum(counts), len(counts), "exact", "weighted",
        indices=tuple(sum(counts[:j]) for j in range(len(counts))),
    )  # fmt: skip


def _weighted(module, read, made):
    multiplicities = [None if c is None else c.to(module.weight) for c in (read, made)]
    layer = WeightedLinear(
        module.in_features,
        module.out_features,
        input_multiplicities=multiplicities[0],
        output_multiplicities=multiplicities[1],
    ).to(module.weight.dtype)
    layer.load_state_dict(module.state_dict(), strict=False)
    return layer


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def batch(pair, step):
    part = slice(12 * (step % 4), 12 * (step % 4) + 12)
    return pair.x[part], pair.y[part]


def train(pair, model, *, optimizer=sgd, loss=None, before_step=None, after_step=None, steps=STEPS):
    """Run one plain loop; the hooks are what a caller's loop does in between."""
    made = optimizer(model.parameters())
    for step in range(steps):
        made.zero_grad()
        x, y = batch(pair, step)
        value = F.mse_loss(model(x), y) if loss is None else loss(model, x, y)
        value.backward()
        if before_step:
            before_step(model)
        made.step()
        if after_step:
            after_step(made, value)
    return made


def both(pair, **how):
    train(pair, pair.wide, **how)
    train(pair, pair.slim, **how)
    return pair.distance()


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
    for name in ("0", "2"):
        pair.slim.get_submodule(name).output_multiplicities = None
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


def test_autocast_stays_within_bfloat16():
    """bfloat16 keeps 8 bits: a sum over copies and c times one differ by rounding, here below 0.03."""

    def cast(model, x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(x)
        return F.mse_loss(outputs.float(), y)

    pair = Pair(dtype=torch.float32)
    assert both(pair, loss=cast, optimizer=EXACT["AdamW"]) < 0.03
    assert pair.slim[0].weight.dtype == pair.slim[0].weight.grad.dtype == torch.float32
    broken = Pair(dtype=torch.float32)
    train(broken, broken.wide, loss=cast, optimizer=EXACT["SGD"])
    for name in ("0", "2"):
        broken.slim.get_submodule(name).output_multiplicities = None
    train(broken, broken.slim, loss=cast, optimizer=EXACT["SGD"])
    assert broken.distance() > 0.03


def test_compiled_without_a_graph_break():
    pair = Pair()
    train(pair, pair.wide)
    train(pair, torch.compile(pair.slim, backend="aot_eager", fullgraph=True))
    assert pair.distance() < TOLERANCE


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


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_distributed_data_parallel(one_process):
    pair = Pair()
    train(pair, pair.wide)
    train(pair, nn.parallel.DistributedDataParallel(pair.slim))
    assert pair.distance() < TOLERANCE


def test_data_parallel():
    pair = Pair()
    train(pair, pair.wide)
    train(pair, nn.DataParallel(pair.slim))
    assert pair.distance() < TOLERANCE


def test_an_average_of_weights_follows():
    pair = Pair()
    averages = [AveragedModel(model) for model in (pair.wide, pair.slim)]
    for model, average in zip((pair.wide, pair.slim), averages, strict=True):
        train(pair, model, after_step=lambda *_, a=average, m=model: a.update_parameters(m))
    a, b = (average(pair.x) for average in averages)
    torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)
    assert (a - pair.slim(pair.x)).abs().max() > 1e-3


MAX_NORM = 0.05


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clipping_counts_every_copy(norm_type):
    pair, norms = Pair(), []
    train(
        pair, pair.wide, before_step=lambda m: nn.utils.clip_grad_norm_(m.parameters(), MAX_NORM, norm_type)
    )
    train(pair, pair.slim, before_step=lambda m: norms.append(clip_grad_norm_(m, MAX_NORM, norm_type)))
    assert pair.distance() < TOLERANCE
    assert max(norms) > MAX_NORM


def test_twin_torch_clipping_on_the_slim_model_moves_otherwise():
    pair = Pair()
    clip = lambda m: nn.utils.clip_grad_norm_(m.parameters(), MAX_NORM)  # noqa: E731
    assert both(pair, before_step=clip) > 1e-3


def test_clipping_rides_on_a_step_hook_in_a_loop_of_others():
    """A trainer-style loop: groups by name, accumulation, warm-up; only the clipping is ours."""

    def trainer(pair, model, clip):
        decayed = [p for name, p in model.named_parameters() if name.endswith("weight")]
        plain = [p for name, p in model.named_parameters() if name.endswith("bias")]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        made = torch.optim.AdamW(groups, lr=1e-2)

        def hook(*_):
            clip(model)

        made.register_step_pre_hook(hook)
        scheduler = lr_scheduler.LambdaLR(made, lambda t: min(1.0, (t + 1) / 20))
        for step in range(STEPS):
            for part in (0, 1):
                x, y = batch(pair, 2 * step + part)
                (F.mse_loss(model(x), y) / 2).backward()
            made.step()
            scheduler.step()
            made.zero_grad()

    pair = Pair()
    trainer(pair, pair.wide, lambda m: nn.utils.clip_grad_norm_(m.parameters(), MAX_NORM))
    trainer(pair, pair.slim, lambda m: clip_grad_norm_(m, MAX_NORM))
    assert pair.distance() < TOLERANCE


RATE = 0.05


def written_out(model, x, y):
    return F.mse_loss(model(x), y) + RATE * sum(p.square().sum() for p in model.parameters())


def test_an_l2_term_counts_every_copy_in_value_and_one_in_gradient():
    pair = Pair()
    by_hand = sum(p.square().sum() for p in pair.wide.parameters())
    torch.testing.assert_close(squared_norm(pair.slim), by_hand)
    train(pair, pair.wide, loss=written_out)
    train(pair, pair.slim, loss=lambda m, x, y: F.mse_loss(m(x), y) + RATE * squared_norm(m))
    assert pair.distance() < TOLERANCE


def test_twin_an_l2_term_with_c_in_its_gradient_moves_otherwise():
    pair = Pair()

    def counted(model, x, y):
        copies = {
            "0.weight": model[0].output_multiplicities[:, None],
            "4.weight": model[4].input_multiplicities,
        }
        return F.mse_loss(model(x), y) + RATE * sum(
            (p.square() * copies.get(name, 1.0)).sum() for name, p in model.named_parameters()
        )

    train(pair, pair.wide, loss=written_out)
    train(pair, pair.slim, loss=counted)
    assert pair.distance() > 1e-3


def test_equal_noise_on_all_copies_is_followed():
    pair = Pair()
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]

    def noisy_slim(model):
        for p in model.parameters():
            p.grad += 0.01 * torch.randn(p.shape, generator=generators[0], dtype=p.dtype)

    def noisy_wide(model):
        shapes = dict(pair.slim.named_parameters())
        for name, p in model.named_parameters():
            read, made = pair.maps[name[0]]
            noise = 0.01 * torch.randn(shapes[name].shape, generator=generators[1], dtype=p.dtype)
            noise = _spread(noise, made, 0)
            p.grad += _spread(noise, read, 1) if name.endswith("weight") else noise

    train(pair, pair.wide, before_step=noisy_wide)
    train(pair, pair.slim, before_step=noisy_slim)
    assert pair.distance() < TOLERANCE


def test_gradient_noise_is_that_of_the_mean_of_the_copies():
    pair, generator, draws = Pair(), torch.Generator().manual_seed(0), []
    for _ in range(2000):
        for p in pair.slim.parameters():
            p.grad = torch.zeros_like(p)
        add_gradient_noise_(pair.slim, 0.7, generator)
        draws.append(pair.slim[2].weight.grad.clone())
    first, second = (torch.tensor(c, dtype=torch.float64) for c in UNEQUAL)
    expected = 0.7 / (second[:, None] * first).sqrt()
    spread = torch.stack(draws).std(0)
    torch.testing.assert_close(spread, expected, rtol=0.1, atol=0)
    assert not torch.allclose(spread, torch.full_like(spread, 0.7), rtol=0.1)
