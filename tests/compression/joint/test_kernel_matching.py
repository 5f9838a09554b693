"""NTK matching of several layers, and of channels and neurons with a batch norm."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.joint import distillation, kernel_matching
from jlab_compress.compression.joint.refinement import refine
from jlab_compress.compression.signals.layer_kernels import tangents
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks
from tests.compression.joint.tasks import QUICK, task_of
from tests.compression.signals.test_layer_kernels import LAYERS, chain, convolutions, draw, images, rows


def gap(slim, net, x):
    with torch.no_grad():
        return float((slim(x) - net(x)).norm() / net(x).norm())


@pytest.mark.parametrize("norms", [False, True])
def test_channels_are_refined_for_function_and_for_dynamics(norms):
    net, x, unseen = convolutions(norms=norms), images(1, 240), images(2, 100)
    state = copy.deepcopy(net.state_dict())
    plain = compress_baseline(net, 4, calibration=x, method="greedy").model
    gaps = {}
    ways = {
        "function": ("joint distillation", distillation.NOTE),
        "dynamics": ("NTK matching", kernel_matching.NOTE),
    }
    for preserve, (method, note) in ways.items():
        made = compress(net, 4, calibration=x, preserve=preserve, progress=False)
        assert note in made.report.notes
        assert {b.method for b in made.plan.blocks} == {method}
        gaps[preserve] = gap(made.model, net, unseen)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert gaps["function"] < 0.7 * gap(plain, net, unseen)
    assert gaps["function"] < gaps["dynamics"] < 0.5


def test_one_block_of_channels_is_matched_too_and_judged():
    made = compress(convolutions(norms=True), {"0": 4}, calibration=images(1, 300), **QUICK)
    assert kernel_matching.NOTE in made.report.notes
    assert any("First step on a synthetic task" in note for note in made.report.notes)


def test_matching_lowers_outputs_and_kernels_on_unseen_rows_and_moves_blocks_only():
    net = chain(dtype=torch.float32)
    net.insert(0, nn.Linear(6, 6))
    blocks = [b for b in find_blocks(net, rows(0, 4).float())[1:] if b.locked is None]
    names = [name for block in blocks for name in (*block.incoming, block.outgoing)]
    spoilt = copy.deepcopy(net)
    with torch.no_grad():
        for name in names:
            spoilt.get_submodule(name).weight.mul_(0.8)
    spoilt[0].bias.requires_grad_(False)
    before = copy.deepcopy(spoilt)
    calls, held = [Call((rows(1, 300).float(),))], [Call((rows(2, 80).float(),))]
    task = task_of(net, spoilt, blocks, calls, held)
    assert refine(task, kernel_matching.kernel_matching(task)).helped
    layers, unseen = list(dict.fromkeys(names)), Call((rows(3, 80).float(),))
    wanted = tangents(net, unseen, layers, draw(5)).targets(draw())
    errors = [float(tangents(m, unseen, layers, draw(5)).error(wanted)) for m in (before, spoilt)]
    assert errors[1] < 0.1 * errors[0]
    assert torch.equal(spoilt[0].weight, before[0].weight)
    assert [p.requires_grad for p in spoilt.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in spoilt.parameters())


def test_compress_matches_several_blocks_and_says_so():
    net = chain(dtype=torch.float32)
    state = copy.deepcopy(net.state_dict())
    made = compress(net, 6, calibration=rows(1, 200).float(), **QUICK)
    assert kernel_matching.NOTE in made.report.notes
    assert {b.method for b in made.plan.blocks} == {"NTK matching"}
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    again = compress(net, 6, calibration=rows(1, 200).float(), **QUICK)
    assert all(
        torch.equal(a, b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True)
    )
    single = compress(net, {"0": 6}, calibration=rows(1, 200).float(), **QUICK)
    assert kernel_matching.NOTE not in single.report.notes


def expected(net, calls):
    return kernel_matching.expected_displacement(task_of(net, net, (), calls, calls))


def test_fresh_outputs_are_expected_to_move_far_and_meaningful_ones_little():
    net, calls = chain(width=200), [Call((rows(1, 100),))]
    fresh = expected(net, calls)
    assert 3 < fresh < 30
    with torch.no_grad():
        net[4].weight.copy_(net[2:4](net[:2](rows(1, 100))).mean(dim=0).sign() * 0.1)
    assert expected(net, calls) < fresh / 5
    one, other = (tangents(m, calls[0], LAYERS, draw()) for m in (net, chain(width=200)))
    assert float(other.error(one.targets(draw()), displacement=10.0)) < float(
        other.error(one.targets(draw()))
    )


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 1.0


class OnceOnly(nn.Module):
    def forward(self, x):
        return Once.apply(torch.tanh(x))


def test_a_model_that_cannot_be_differentiated_twice_is_still_compressed_and_the_report_says_so():
    net = chain(act=OnceOnly, dtype=torch.float32)
    made = compress(net, 6, calibration=rows(1, 100).float(), **QUICK)
    assert any("cannot be differentiated" in note for note in made.report.notes)
    assert {b.width_after for b in made.plan.blocks} == {6}
    assert "NTK matching" not in {b.method for b in made.plan.blocks}


def test_half_precision_keeps_its_own_fits():
    net = chain(dtype=torch.bfloat16)
    made = compress(net, 6, calibration=rows(1, 100, torch.bfloat16), **QUICK)
    assert kernel_matching.NOTE not in made.report.notes
    assert {p.dtype for p in made.model.parameters()} == {torch.bfloat16}


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
    made = compress(Beside().eval(), 4, calibration=images(1, 120), preserve=preserve, **QUICK)
    assert {b.method for b in made.plan.blocks} <= {"joint distillation", "NTK matching"}
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
def test_what_cannot_be_refined_is_still_compressed(build, preserve):
    torch.manual_seed(0)
    made = compress(build().eval(), 4, calibration=images(1, 60), preserve=preserve, **QUICK)
    assert {b.width_after for b in made.plan.blocks} == {4}
    assert not {b.method for b in made.plan.blocks} & {"joint distillation", "NTK matching"}
    told = [note for note in made.report.notes if "cannot be differentiated" in note]
    assert bool(told) == (build is Broken)


def test_batches_may_come_from_a_generator():
    net, x = convolutions(), images(1, 120)
    made = compress(net, 4, calibration=iter(x.split(40)), preserve="function", **QUICK)
    assert {b.width_after for b in made.plan.blocks} == {4}


def test_greedy_selection_is_returned_where_it_is_nearer(monkeypatch):
    net, x = convolutions(), images(1, 120)
    monkeypatch.setattr(
        "jlab_compress.compression.joint.refinement.renew_statistics", lambda slim, *args: spoil(slim)
    )
    made = compress(net, 4, calibration=x, preserve="function", progress=False)
    assert made.report.notes[0].startswith("Greedy selection with refit was kept")
    plain = compress_baseline(net, 4, calibration=x, method="greedy").model
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), plain.parameters(), strict=True))


@torch.no_grad()
def spoil(slim):
    slim[6].bias.add_(9.0)
