"""Channels and neurons with a batch norm: matched as a whole network."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.joint.distillation import POLISHED
from jlab_compress.compression.joint.kernel_matching import MATCHED, layers_that_run
from jlab_compress.compression.joint.norm_statistics import renew_statistics
from jlab_compress.compression.signals.backward import random_sum
from jlab_compress.compression.signals.layer_kernels import tangents
from jlab_compress.execution.calls import Call


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def images(seed, count, dtype=torch.float32):
    return torch.randn(count, 1, 6, 6, generator=draw(seed), dtype=dtype)


def gap(slim, net, x):
    with torch.no_grad():
        return float((slim(x) - net(x)).norm() / net(x).norm())


def convolutions(*, norms=False, channels=12, dtype=torch.float32):
    """Return two convolutions, pooled, and a linear head, with norms that have seen data."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(channels, 8, 2), nn.Tanh()]
    if norms:
        layers.insert(1, nn.BatchNorm2d(channels))
        layers.insert(4, nn.BatchNorm2d(8))
    net = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)).to(dtype)
    with torch.no_grad():
        for module in net:
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0)
                module.bias.uniform_(-1.0, 1.0)
        for seed in range(40):
            net.train()(images(seed, 64, dtype) * 2.0 + 1.0)
    return net.eval()


@pytest.mark.parametrize("norms", [False, True])
def test_kernels_of_filters_and_norms_are_inner_products_of_gradients(norms):
    net, x = convolutions(norms=norms, dtype=torch.float64), images(1, 5, torch.float64)
    layers = [name for name, module in net.named_children() if list(module.parameters())]
    assert len(layers) == (5 if norms else 3)
    found = tangents(net, Call((x,)), layers, draw())
    ways = torch.randn(5, 3, generator=draw()).to(x)
    for side, name in zip(found.sides, layers, strict=True):
        own = [*net.get_submodule(name).parameters()]
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad((net(x[i : i + 1]) * ways[i]).sum(), own)])
            for i in range(5)
        ]
        wanted = torch.stack(gradients)
        assert torch.allclose(side.kernel(torch.arange(5)), wanted @ wanted.T)


@pytest.mark.parametrize("norms", [False, True])
def test_channels_with_multiplicities_have_the_kernels_of_their_copies(norms):
    net = convolutions(norms=norms, dtype=torch.float64)
    reader = net[3] if norms else net[2]
    with torch.no_grad():
        for module in (net[0], net[1]) if norms else (net[0],):
            for value in module.state_dict().values():
                if value.dim():
                    value[6:] = value[:6].clone()
        reader.weight[:, 6:] = reader.weight[:, :6].clone()
    x = images(1, 30, torch.float64)
    slim = compress(net, {"0": 6}, calibration=x, progress=False).model
    assert slim[0].output_multiplicities.tolist() == [2.0] * 6
    layers = ["0", "1", "3"] if norms else ["0", "2"]
    mine, theirs = (tangents(m, Call((x,)), layers, draw()) for m in (slim, net))
    answer = theirs.answer(draw())
    assert float(mine.error(answer)) < 1e-20
    slim[0].output_multiplicities.mul_(1.5)
    assert float(tangents(slim, Call((x,)), layers, draw()).error(answer)) > 1e-3


@pytest.mark.parametrize("norms", [False, True])
def test_channels_are_moved_together_for_function_and_for_dynamics(norms):
    net, x, unseen = convolutions(norms=norms), images(1, 240), images(2, 100)
    state = copy.deepcopy(net.state_dict())
    plain = compress_baseline(net, 4, calibration=x, method="greedy").model
    gaps = {}
    for preserve, note in (("function", POLISHED), ("dynamics", MATCHED)):
        made = compress(net, 4, calibration=x, preserve=preserve, progress=False)
        assert note in made.report.notes
        assert {b.method for b in made.plan.blocks} == {"moved together"}
        gaps[preserve] = gap(made.model, net, unseen)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert gaps["function"] < 0.7 * gap(plain, net, unseen)
    assert gaps["function"] < gaps["dynamics"] < 0.5


def test_one_block_of_channels_is_matched_too_and_judged():
    made = compress(convolutions(norms=True), {"0": 4}, calibration=images(1, 300), progress=False)
    assert MATCHED in made.report.notes
    assert any("First step on a synthetic task" in note for note in made.report.notes)


def test_new_statistics_are_those_of_the_calibration_and_evaluation_stays():
    net, x = convolutions(norms=True), images(3, 200)
    with torch.no_grad():
        net[0].weight.mul_(1.7)
        net[0].bias.sub_(0.6)
    before, far = net(x), (copy.deepcopy(net).train()(x) - net(x)).norm()
    renew_statistics(net, ["1", "4"], [Call((x,))])
    assert torch.allclose(net(x), before, atol=1e-5)
    assert (copy.deepcopy(net).train()(x) - before).norm() < 0.02 * far
    entering = net[0](x)
    assert torch.allclose(net[1].running_mean, entering.mean(dim=(0, 2, 3)), atol=1e-5)


def test_norms_train_on_from_where_evaluation_is():
    net, x = convolutions(norms=True), images(1, 240) * 2.0 + 1.0
    slim = compress(net, 6, calibration=x, progress=False).model
    evaluated = slim(x)
    assert (slim.train()(x) - evaluated).norm() < 0.1 * evaluated.norm()


def test_layers_are_listed_as_they_run():
    net = nn.ModuleDict({"second": nn.Linear(3, 2), "never": nn.Linear(2, 2), "first": nn.Linear(2, 3)})
    net.forward = lambda x: net["second"](net["first"](x))
    assert layers_that_run(net, Call((torch.ones(2, 2),))) == ["first", "second"]


@pytest.mark.parametrize("size", [8, 40])
def test_a_slim_model_that_is_equal_has_the_same_kernels_at_any_size_of_image(size):
    net = nn.Sequential(nn.Conv2d(2, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 3, 3, padding=1)).double()
    with torch.no_grad():
        for value in net[0].parameters():
            value[4:] = value[:4].repeat(3, *[1] * (value.dim() - 1))
        net[2].weight[:, 4:] = net[2].weight[:, :4].repeat(1, 3, 1, 1)
    x = torch.randn(32, 2, size, size, generator=draw(), dtype=torch.float64)
    slim = compress(net, 4, calibration=x, progress=False).model
    assert slim[0].output_multiplicities.tolist() == [4.0] * 4
    mine, theirs = (tangents(m, Call((x,)), ["0", "2"], draw()) for m in (slim, net))
    assert float(mine.error(theirs.answer(draw()))) < 1e-18


class Beside(nn.Module):
    """Convolutions that give a single number beside the logits, and call their norm by name."""

    def __init__(self):
        super().__init__()
        self.net = convolutions(norms=True)
        self.extra = None

    def forward(self, x):
        x = self.net[2](self.net[1](input=self.net[0](x)))
        x = self.net[3:](x)
        return x, x.square().mean()

    def get_extra_state(self):
        return {"any": "thing"}

    def set_extra_state(self, state):
        self.extra = state


@pytest.mark.parametrize("preserve", ["function", "dynamics"])
def test_single_numbers_beside_the_outputs_and_extra_states_do_not_matter(preserve):
    made = compress(Beside().eval(), 4, calibration=images(1, 120), preserve=preserve, progress=False)
    assert {b.method for b in made.plan.blocks} == {"moved together"}
    assert made.report.facts["function_gap"] < 1.0


class Functional(nn.Module):
    """A norm whose parameters are used, while the module does not run."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 3, 3)

    def forward(self, x):
        n = self.norm
        y = nn.functional.batch_norm(self.first(x), n.running_mean, n.running_var, n.weight, n.bias)
        return self.second(y.relu()).mean(dim=(2, 3))


class Broken(nn.Module):
    """Cannot be differentiated at all: what the backward pass needs is changed in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 3, 3)

    def forward(self, x):
        y = torch.sigmoid(self.first(x))
        y.mul_(2.0)
        return self.second(y).mean(dim=(2, 3))


@pytest.mark.parametrize("preserve", ["function", "dynamics"])
@pytest.mark.parametrize("build", [Functional, Broken])
def test_what_cannot_be_moved_is_still_compressed(build, preserve):
    torch.manual_seed(0)
    made = compress(build().eval(), 4, calibration=images(1, 60), preserve=preserve, progress=False)
    assert {b.width_after for b in made.plan.blocks} == {4}
    assert "moved together" not in {b.method for b in made.plan.blocks}
    told = [note for note in made.report.notes if "cannot be differentiated" in note]
    assert bool(told) == (build is Broken)


def test_batches_may_come_from_a_generator():
    net, x = convolutions(), images(1, 120)
    made = compress(net, 4, calibration=iter(x.split(40)), preserve="function", progress=False)
    assert {b.width_after for b in made.plan.blocks} == {4}


def test_random_sums_tell_the_channels_of_images_apart():
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    (sent,) = torch.autograd.grad(random_sum([image], Call((image,)), draw()), image)
    assert torch.equal(sent, sent[:, :, :1, :1].expand_as(sent))
    assert sent[0, 0, 0, 0] != sent[0, 1, 0, 0]


def test_greedy_selection_is_returned_where_it_is_nearer(monkeypatch):
    net, x = convolutions(), images(1, 120)
    monkeypatch.setattr(
        "jlab_compress.compression.joint.distillation.renew_statistics", lambda slim, *args: spoil(slim)
    )
    made = compress(net, 4, calibration=x, preserve="function", progress=False)
    assert made.report.notes[0].startswith("Greedy selection with refit was kept")
    plain = compress_baseline(net, 4, calibration=x, method="greedy").model
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), plain.parameters(), strict=True))


@torch.no_grad()
def spoil(slim):
    slim[6].bias.add_(9.0)
