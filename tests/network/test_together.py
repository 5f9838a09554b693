import copy

import pytest
import torch
from torch import nn

from jlab_compress.network.blocks import find_blocks
from jlab_compress.network.compression import compress
from jlab_compress.network.inputs import Call
from jlab_compress.network.together import polish, states


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


def test_polish_lowers_the_error_of_hidden_states_and_moves_blocks_only(model):
    blocks = find_blocks(model, torch.randn(2, 8))
    spoilt = copy.deepcopy(model)
    for block in blocks:
        spoilt.get_submodule(block.outgoing).weight.data.mul_(0.8)
    spoilt.head.requires_grad_(False)
    before = copy.deepcopy(spoilt)
    course = polish(model, spoilt, list(blocks), calls(1, 256), calls(2, 64))
    assert course.helped
    assert course.after < 0.5 * course.before
    assert torch.equal(spoilt.head.weight, before.head.weight)
    assert not torch.equal(spoilt.up[0].weight, before.up[0].weight)
    assert [p.requires_grad for p in spoilt.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in spoilt.parameters())


def test_states_are_those_behind_the_norms(model):
    x = torch.randn(5, 8)
    (found,) = states(model, Call((x,)), ["norm.0"])
    assert torch.allclose(found, model.norm[0](x + model.down[0](torch.relu(model.up[0](x)))))
    assert not found.requires_grad


def test_compress_for_the_function_polishes_several_blocks(model):
    before = copy.deepcopy(model.state_dict())
    made = compress(model, 6, calibration=calls(1, 300)[0].args[0], preserve="function", progress=False)
    assert {b.method for b in made.plan.blocks} == {"moved together"}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    one = compress(
        model, {"up.0": 6}, calibration=calls(1, 300)[0].args[0], preserve="function", progress=False
    )
    assert one.plan.blocks[0].method != "moved together"


def test_several_blocks_of_a_stream_are_counted_alike_and_not_promised_to_follow(model):
    x = calls(1, 300)[0].args[0]
    made = compress(model, 6, calibration=x, progress=False)
    assert made.model.up[0].output_multiplicities.tolist() == pytest.approx([4.0] * 6)
    assert any("several blocks of a residual stream" in note for note in made.report.notes)
    one = compress(model, {"up.0": 6}, calibration=x, progress=False)
    assert not any("several blocks" in note for note in one.report.notes)


def test_an_interrupt_while_blocks_move_together_leaves_the_model(model):
    before = copy.deepcopy(model.state_dict())

    def stop(name, done, total):
        if name == "all blocks together":
            raise KeyboardInterrupt

    x = calls(1, 300)[0].args[0]
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        compress(model, 6, calibration=x, preserve="function", progress=stop)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
