import copy

import torch
from torch import nn

from jlab_compress.compression.signals.backward import random_sum, read_signals
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks
from tests.compression.joint.test_distillation import Residual, calls, model

__all__ = ["model"]


class Tagger(nn.Module):
    """Tokens, a residual feed-forward layer behind a norm, one row of logits per position."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.stage = Residual()

    def forward(self, input_ids, attention_mask):
        return self.stage(self.embed(input_ids)) * 1.0


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_cotangents_are_gradients_of_a_random_sum_of_the_outputs(model):
    blocks = list(find_blocks(model, torch.randn(2, 8)))
    (call,) = calls(1, 5)
    found = read_signals(model, call, ["norm.0"], blocks, generator=generator())
    draw = torch.randn(5, 3, generator=generator())
    x = call.args[0]
    first = model.down[0](torch.relu(model.up[0](x))).detach().requires_grad_()
    entering = model.norm[0](x + first)
    second = model.down[1](torch.relu(model.up[1](entering))).detach().requires_grad_()
    y = model.head(model.norm[1](entering + second))
    (by_hand,) = torch.autograd.grad((y * draw).sum(), second)
    assert torch.allclose(found.cotangents["up.1"], by_hand, atol=1e-6)
    assert torch.allclose(found.inputs["up.1"], entering, atol=1e-6)
    assert torch.equal(found.inputs["up.0"], x)
    assert not found.inputs["up.1"].requires_grad
    assert not found.states[0].requires_grad
    other = read_signals(model, call, ["norm.0"], blocks, generator=generator(1))
    assert not torch.allclose(found.cotangents["up.0"], other.cotangents["up.0"], atol=1e-2)


def test_earlier_blocks_get_what_later_ones_back_propagate(model):
    blocks = list(find_blocks(model, torch.randn(2, 8)))
    (call,) = calls(1, 5)
    kept = read_signals(model, call, [], blocks, generator=generator()).cotangents["up.0"]
    silent = copy.deepcopy(model)
    silent.down[1].weight.data.zero_()
    lost = read_signals(silent, call, [], blocks, generator=generator()).cotangents["up.0"]
    assert not torch.allclose(kept, lost, atol=1e-2)


def test_a_run_leaves_the_model_as_it_was(model):
    before = copy.deepcopy(model.state_dict())
    blocks = list(find_blocks(model, torch.randn(2, 8)))
    state = torch.get_rng_state()
    model.train()
    read_signals(model, calls(1, 5)[0], ["norm.0"], blocks, generator=generator())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_padding_is_left_out_and_positions_of_a_row_share_their_draw():
    torch.manual_seed(0)
    net = Tagger()
    ids = torch.randint(0, 20, (3, 4), generator=generator())
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    call = Call((), {"input_ids": ids, "attention_mask": mask})
    blocks = list(find_blocks(net, {"input_ids": ids, "attention_mask": mask}))
    found = read_signals(net, call, ["stage.norm.1"], blocks, generator=generator())
    name = blocks[-1].name
    assert [len(s) for s in found.states] == [7, 3]
    assert len(found.inputs[name]) == len(found.cotangents[name]) == 7
    assert found.picked(name, generator()).sort().values.tolist() == list(range(7))
    same = torch.full((3, 4), 5)
    alike = Call((), {"input_ids": same, "attention_mask": mask})
    rows = read_signals(net, alike, ["stage.norm.1"], blocks, generator=generator()).cotangents[name]
    assert torch.allclose(rows[0], rows[3], atol=1e-6)
    assert not torch.allclose(rows[0], rows[4], atol=1e-3)


def test_rows_without_a_gradient_are_not_picked(model):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x)[:2]

    net = First()
    blocks = list(find_blocks(net, torch.randn(4, 8)))
    found = read_signals(net, calls(1, 6)[0], [], blocks, generator=generator())
    assert found.picked("inner.up.1", generator()).sort().values.tolist() == [0, 1]


def test_a_block_behind_the_last_norm_is_reached_and_then_the_run_ends(model):
    blocks = list(find_blocks(model, torch.randn(2, 8)))
    (call,) = calls(1, 5)
    ended = []
    model.head.register_forward_hook(lambda module, args, output: ended.append(True))
    found = read_signals(model, call, ["norm.0"], blocks)
    assert set(found.inputs) == {block.name for block in blocks}
    assert not ended
    assert len(found.states) == 1
    whole = read_signals(model, call, ["norm.0"], blocks, whole=True)
    assert torch.equal(whole.states[-1], model(*call.args))


def test_random_sums_tell_the_channels_of_images_apart():
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    (sent,) = torch.autograd.grad(random_sum([image], Call((image,)), generator()), image)
    assert torch.equal(sent, sent[:, :, :1, :1].expand_as(sent))
    assert sent[0, 0, 0, 0] != sent[0, 1, 0, 0]
