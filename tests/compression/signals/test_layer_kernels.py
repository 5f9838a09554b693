import copy

import torch
from torch import nn

from jlab_compress.compression.compress import compress
from jlab_compress.compression.joint.kernel_matching import MATCHED, expected_share, match_tangents
from jlab_compress.compression.signals.layer_kernels import tangents
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks

LAYERS = ["0", "2", "4"]


def chain(*, act=nn.Tanh, dtype=torch.float64, width=24):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 3))
    return net.to(dtype)


def rows(seed, count, dtype=torch.float64):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_kernels_are_inner_products_of_gradients():
    net, x = chain(), rows(1, 5)
    found = tangents(net, Call((x,)), LAYERS, draw())
    ways = torch.randn(5, 3, generator=draw()).to(x)
    for side, name in zip(found.sides, LAYERS, strict=True):
        layer = net.get_submodule(name)
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad(net(x[i]) @ ways[i], [*layer.parameters()])])
            for i in range(5)
        ]
        wanted = torch.stack(gradients)
        assert torch.allclose(side.kernel(torch.arange(5)), wanted @ wanted.T)


def test_activations_that_work_in_place_do_not_spoil_the_cotangents():
    plain, changing = chain(act=nn.ReLU), chain(act=lambda: nn.ReLU(inplace=True))
    one, other = (tangents(net, Call((rows(1, 9),)), LAYERS, draw()) for net in (plain, changing))
    for a, b in zip(one.sides, other.sides, strict=True):
        assert torch.equal(a.cotangents, b.cotangents)
        assert torch.equal(a.inputs, b.inputs)
    assert MATCHED in compress(changing, 6, calibration=rows(1, 100), progress=False).report.notes


def test_layers_to_which_nothing_is_sent_back_do_not_count():
    net = chain(act=nn.ReLU)
    net[2].bias.data.sub_(100.0)
    found = tangents(net, Call((rows(1, 9),)), LAYERS, draw())
    assert not found.sides[0].cotangents.any()
    wanted = found.answer(draw())
    net[4].weight.data.mul_(2.0)
    assert float(tangents(net, Call((rows(1, 9),)), LAYERS, draw()).error(wanted)) == 0.0
    net[4].bias.data.add_(1.0)
    assert float(tangents(net, Call((rows(1, 9),)), LAYERS, draw()).error(wanted)) > 1.0


def test_neurons_with_multiplicities_have_the_kernels_of_their_copies():
    net = chain(width=8)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight[4:], layer.bias[4:] = layer.weight[:4].clone(), layer.bias[:4].clone()
        for layer in (net[2], net[4]):
            layer.weight[:, 4:] = layer.weight[:, :4].clone()
    x = rows(1, 40)
    slim = compress(net, 4, calibration=x, progress=False).model
    assert slim[2].input_multiplicities.tolist() == slim[2].output_multiplicities.tolist() == [2.0] * 4
    mine, theirs = (tangents(m, Call((x,)), LAYERS, draw()) for m in (slim, net))
    for a, b in zip(mine.sides, theirs.sides, strict=True):
        assert torch.allclose(a.kernel(torch.arange(40)), b.kernel(torch.arange(40)))
    assert float(mine.error(theirs.answer(draw()))) < 1e-20
    slim[2].output_multiplicities.mul_(1.5)
    spoilt = tangents(slim, Call((x,)), LAYERS, draw())
    assert float(spoilt.error(theirs.answer(draw()))) > 1e-3


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
    course = match_tangents(net, spoilt, blocks, calls, held)
    assert course.helped
    layers, unseen = list(dict.fromkeys(names)), Call((rows(3, 80).float(),))
    wanted = tangents(net, unseen, layers, draw(5)).answer(draw())
    errors = [float(tangents(m, unseen, layers, draw(5)).error(wanted)) for m in (before, spoilt)]
    assert errors[1] < 0.1 * errors[0]
    assert torch.equal(spoilt[0].weight, before[0].weight)
    assert [p.requires_grad for p in spoilt.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in spoilt.parameters())


def test_compress_moves_several_blocks_together_and_says_so():
    net = chain(dtype=torch.float32)
    state = copy.deepcopy(net.state_dict())
    made = compress(net, 6, calibration=rows(1, 200).float(), progress=False)
    assert MATCHED in made.report.notes
    assert {b.method for b in made.plan.blocks} == {"moved together"}
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    again = compress(net, 6, calibration=rows(1, 200).float(), progress=False)
    assert all(
        torch.equal(a, b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True)
    )
    single = compress(net, {"0": 6}, calibration=rows(1, 200).float(), progress=False)
    assert MATCHED not in single.report.notes


def test_fresh_outputs_are_expected_to_move_by_far_and_meaningful_ones_by_little():
    net, calls = chain(width=200), [Call((rows(1, 100),))]
    fresh = expected_share(net, calls, seed=0)
    assert 3 < fresh < 30
    with torch.no_grad():
        net[4].weight.copy_(net[2:4](net[:2](rows(1, 100))).mean(dim=0).sign() * 0.1)
    assert expected_share(net, calls, seed=0) < fresh / 5
    one, other = (tangents(m, calls[0], LAYERS, draw()) for m in (net, chain(width=200)))
    assert float(other.error(one.answer(draw()), movement=10.0)) < float(other.error(one.answer(draw())))


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
    made = compress(net, 6, calibration=rows(1, 100).float(), progress=False)
    assert any("cannot be differentiated" in note for note in made.report.notes)
    assert {b.width_after for b in made.plan.blocks} == {6}
    assert "moved together" not in {b.method for b in made.plan.blocks}


def test_half_precision_keeps_its_own_fits():
    net = chain(dtype=torch.bfloat16)
    made = compress(net, 6, calibration=rows(1, 100, torch.bfloat16), progress=False)
    assert MATCHED not in made.report.notes
    assert {p.dtype for p in made.model.parameters()} == {torch.bfloat16}
