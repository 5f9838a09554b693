"""What a loop adds up over all parameters: clipping, L2 terms and noise count every copy."""

import copy
import gc
import pickle

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.optim import lr_scheduler

from jlab_compress.slim.conversion import fold
from jlab_compress.slim.copies import living_layers
from jlab_compress.training.gradient_sums import add_gradient_noise_, clip_grad_norm_, squared_norm
from tests.repeated import STEPS, TOLERANCE, UNEQUAL, Pair, batch, both, spread, train

MAX_NORM = 0.05


GIVEN = {"model": lambda m: m, "parameters": lambda m: m.parameters(), "list": lambda m: list(m.parameters())}


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
@pytest.mark.parametrize("given", GIVEN)
def test_clipping_counts_every_copy(given, norm_type):
    pair, norms = Pair(), []
    train(
        pair, pair.wide, before_step=lambda m: nn.utils.clip_grad_norm_(m.parameters(), MAX_NORM, norm_type)
    )
    train(
        pair,
        pair.slim,
        before_step=lambda m: norms.append(clip_grad_norm_(GIVEN[given](m), MAX_NORM, norm_type)),
    )
    assert pair.distance() < TOLERANCE
    assert max(norms) > MAX_NORM


COPIES = {
    "itself": lambda m: m,
    "a deep copy": copy.deepcopy,
    "a pickled copy": lambda m: pickle.loads(pickle.dumps(m)),
    "in another dtype": lambda m: copy.deepcopy(m).half().double(),
    "its first layer": lambda m: m[0],
}


@pytest.mark.parametrize("name", COPIES)
def test_parameters_find_the_multiplicities_of_their_layer(name):
    """No step of a loop is needed in between: a model just copied or loaded is known at once."""
    model = COPIES[name](Pair().slim)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first, second = (torch.tensor(c) for c in UNEQUAL)
    rows, middle, last = 5 * first.sum(), first.sum() * second.sum() + second.sum(), 3 * second.sum() + 3
    entries = rows if name == "its first layer" else rows + middle + last
    by_model, by_parameters = (
        clip_grad_norm_(given, 1e9) for given in (copy.deepcopy(model), model.parameters())
    )
    assert by_parameters.item() == pytest.approx(entries.item() ** 0.5)
    assert by_model == 0, "a copy has no gradients"
    assert clip_grad_norm_(model, 1e9) == by_parameters


def test_single_parameters_and_folded_ones():
    slim = Pair().slim
    stock = fold(slim)
    for parameter in (*slim.parameters(), *stock.parameters()):
        parameter.grad = torch.ones_like(parameter)
    assert clip_grad_norm_(slim[0].bias, 1e9).item() == pytest.approx(sum(UNEQUAL[0]) ** 0.5)
    assert clip_grad_norm_(stock[0].bias, 1e9).item() == pytest.approx(5**0.5)
    assert clip_grad_norm_([], 1.0) == 0


def test_layers_are_remembered_only_while_they_live():
    gc.collect()
    before = len(living_layers())
    pair = Pair()
    assert len(living_layers()) == before + 3
    del pair
    gc.collect()
    assert len(living_layers()) == before


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
    torch.testing.assert_close(squared_norm(pair.slim.parameters()), by_hand)
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
            noise = spread(noise, made, 0)
            p.grad += spread(noise, read, 1) if name.endswith("weight") else noise

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


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_sums_over_a_sharded_model_are_those_of_the_whole(one_process):
    pair = Pair()
    sharded = copy.deepcopy(pair.slim)
    for part in (sharded[0], sharded[2], sharded[4], sharded):
        fully_shard(part, mesh=one_process)
    models, x, y = (pair.slim, sharded), pair.x, pair.y
    for model in models:
        (F.mse_loss(model(x), y) + 0.1 * squared_norm(model)).backward()
    grads = [[getattr(p.grad, "full_tensor", lambda p=p: p.grad)() for p in m.parameters()] for m in models]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    wide = sum(p.square().sum() for p in pair.wide.parameters())
    torch.testing.assert_close(squared_norm(sharded.parameters()), wide)
    for order in (1.0, 2.0, float("inf")):
        norms = [clip_grad_norm_(given, 1e9, order) for given in (*models, sharded.parameters())]
        assert norms[0] == norms[1] == norms[2]
    for model in models:
        clip_grad_norm_(model, 1e-3)
        add_gradient_noise_(model, 0.1, torch.Generator().manual_seed(0))
        torch.optim.SGD(model.parameters(), 0.1).step()
    assert torch.equal(sharded(x), pair.slim(x))
