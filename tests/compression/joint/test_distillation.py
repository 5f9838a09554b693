import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.joint.distillation import NOTE, distillation, steps_for
from jlab_compress.compression.joint.refinement import refine
from jlab_compress.compression.signals.backward import read_signals
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.effort import NORMAL
from jlab_compress.inspection.find import find_blocks
from tests.compression.joint.tasks import QUICK, task_of


class Residual(nn.Module):
    """Two post-norm feed-forward layers and a head."""

    def __init__(self):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(8, 24) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(24, 8) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for up, down, norm in zip(self.up, self.down, self.norm, strict=True):
            x = norm(x + down(torch.relu(up(x))))
        return self.head(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = Residual()
    for p in net.parameters():
        p.data *= 2
    return net


def calls(seed, rows):
    x = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))
    return [Call((x,))]


def test_distillation_lowers_the_error_of_hidden_states_and_moves_blocks_only(model):
    blocks = [b for b in find_blocks(model, torch.randn(2, 8)) if b.locked is None]
    spoilt = copy.deepcopy(model)
    for block in blocks:
        spoilt.get_submodule(block.outgoing).weight.data.mul_(0.8)
    spoilt.head.requires_grad_(False)
    before = copy.deepcopy(spoilt)
    task = task_of(model, spoilt, blocks, calls(1, 256), calls(2, 64))
    result = refine(task, distillation(task))
    assert result.helped
    assert result.after < 0.7 * result.before
    x = calls(3, 64)[0].args[0]
    errors = [(net(x) - model(x)).square().sum().item() for net in (before, spoilt)]
    assert errors[1] < 0.5 * errors[0]
    assert torch.equal(spoilt.head.weight, before.head.weight)
    assert not torch.equal(spoilt.up[0].weight, before.up[0].weight)
    assert [p.requires_grad for p in spoilt.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in spoilt.parameters())


def test_states_are_those_behind_the_norms(model):
    x = torch.randn(5, 8)
    (found,) = read_signals(model, Call((x,)), ["norm.0"]).states
    assert torch.allclose(found, model.norm[0](x + model.down[0](torch.relu(model.up[0](x)))))
    assert not found.requires_grad


def test_compress_for_the_function_refines_blocks_of_a_stream_jointly(model):
    before = copy.deepcopy(model.state_dict())
    made = compress(model, 6, calibration=calls(1, 300)[0].args[0], preserve="function", **QUICK)
    assert {b.method for b in made.plan.blocks} == {"joint distillation"}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    one = compress(
        model, {"up.0": 6}, calibration=calls(1, 300)[0].args[0], preserve="function", progress=False
    )
    assert one.plan.blocks[0].method == "joint distillation"
    chain = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3))
    alone = compress(chain, 6, calibration=calls(1, 300)[0].args[0], preserve="function", **QUICK)
    assert alone.plan.blocks[0].method != "joint distillation"


def test_several_blocks_of_a_stream_keep_their_mass_and_are_judged_jointly(model):
    x = calls(1, 300)[0].args[0]
    made = compress(model, 6, calibration=x, **QUICK)
    counts = made.model.up[0].output_multiplicities
    assert float(counts.sum()) == pytest.approx(24)
    assert float(counts.max()) > 1.1 * float(counts.min())
    assert any("judged jointly" in note for note in made.report.notes)
    chain = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3))
    alone = compress(chain, 6, calibration=x, **QUICK)
    assert not any("judged jointly" in note for note in alone.report.notes)
    plain = compress(model, 6, calibration=x, plain=True, **QUICK).model
    assert type(plain.up[0]) is nn.Linear


def follows(made):
    column = made.report.tables[0].columns.index("trains alike")
    return {row[column] for row in made.report.tables[0].rows}


def test_blocks_judged_jointly_train_alike_at_a_good_width_only(model):
    x = calls(1, 300)[0].args[0]
    assert follows(compress(model, 20, calibration=x, progress=False)) == {True}
    assert follows(compress(model, 3, calibration=x, progress=False)) == {False}


def moved_by_training(net, x, labels, rows):
    """Return how far 30 steps of gradient descent move the outputs at other rows."""
    trained = copy.deepcopy(net)
    optimizer = torch.optim.SGD(trained.parameters(), 0.05)
    before = net(rows).detach()
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(x), labels).backward()
        optimizer.step()
    return trained(rows).detach() - before


@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_that_are_refined_jointly_train_more_alike_than_those_only_counted(model, seed):
    x, rows = calls(seed, 400)[0].args[0], calls(seed + 10, 200)[0].args[0]
    labels = torch.randint(0, 3, (400,), generator=torch.Generator().manual_seed(seed))
    made = compress(model, 12, calibration=x, progress=False, seed=seed).model
    wanted = moved_by_training(model, x, labels, rows)
    gaps = {"joint distillation": moved_by_training(made, x, labels, rows)}
    for method in ("greedy", "random"):
        plain = compress_baseline(model, 12, calibration=x, method=method, seed=seed).model
        gaps[method] = moved_by_training(plain, x, labels, rows)
    gaps = {name: float((g - wanted).norm() / wanted.norm()) for name, g in gaps.items()}
    assert gaps["joint distillation"] < 0.95 * min(gaps["greedy"], gaps["random"]), gaps


def test_an_interrupt_during_joint_refinement_leaves_the_model(model):
    before = copy.deepcopy(model.state_dict())

    def stop(name, done, total):
        if name == "joint refinement":
            raise KeyboardInterrupt

    x = calls(1, 300)[0].args[0]
    with pytest.raises(KeyboardInterrupt, match="2 of 2 blocks are slim"):
        compress(model, 6, calibration=x, preserve="function", progress=stop)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("preserve", ["function", "dynamics"])
def test_an_encoder_that_norms_first_and_not_at_the_end_is_refined_too(preserve):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 24, dropout=0.0, norm_first=True, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(60, 5, 8, generator=torch.Generator().manual_seed(1))
    made = compress(net, 8, calibration=x, preserve=preserve, **QUICK)
    assert NOTE in made.report.notes
    assert {b.method for b in made.plan.blocks} == {"joint distillation"}


@pytest.mark.parametrize(
    ("kinds", "steps"),
    [
        ({"gradients": True, "kernels": True}, [250, 1000]),
        ({"gradients": True}, [250, 700]),
        ({"images": True}, [600, 2000]),
        ({}, [100, 200]),
    ],
)
def test_steps_grow_with_the_batches_up_to_the_effort(kinds, steps):
    kinds = {"gradients": False, "kernels": False, "images": False} | kinds
    assert [steps_for(batches, NORMAL, **kinds) for batches in (10, 100)] == steps
