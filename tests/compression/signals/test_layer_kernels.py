import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress
from jlab_compress.compression.joint.kernel_matching import NOTE
from jlab_compress.compression.signals.layer_kernels import tangents
from jlab_compress.execution.calls import Call
from tests.compression.joint.tasks import QUICK

LAYERS = ["0", "2", "4"]


def chain(*, act=nn.Tanh, dtype=torch.float64, width=24):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 3))
    return net.to(dtype)


def rows(seed, count, dtype=torch.float64):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(seed, count, dtype=torch.float32):
    return torch.randn(count, 1, 6, 6, generator=draw(seed), dtype=dtype)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_kernels_are_inner_products_of_gradients():
    net, x = chain(), rows(1, 5)
    found = tangents(net, Call((x,)), LAYERS, draw())
    ways = torch.randn(5, 3, generator=draw()).to(x)
    for layer, name in zip(found.gradients, LAYERS, strict=True):
        own = [*net.get_submodule(name).parameters()]
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad(net(x[i]) @ ways[i], own)]) for i in range(5)
        ]
        wanted = torch.stack(gradients)
        assert torch.allclose(layer.kernel(torch.arange(5)), wanted @ wanted.T)


def test_activations_that_work_in_place_do_not_spoil_the_cotangents():
    plain, changing = chain(act=nn.ReLU), chain(act=lambda: nn.ReLU(inplace=True))
    one, other = (tangents(net, Call((rows(1, 9),)), LAYERS, draw()) for net in (plain, changing))
    for a, b in zip(one.gradients, other.gradients, strict=True):
        assert torch.equal(a.cotangents, b.cotangents)
        assert torch.equal(a.inputs, b.inputs)
    assert NOTE in compress(changing, 6, calibration=rows(1, 100), **QUICK).report.notes


def test_layers_without_a_gradient_do_not_count():
    net = chain(act=nn.ReLU)
    net[2].bias.data.sub_(100.0)
    found = tangents(net, Call((rows(1, 9),)), LAYERS, draw())
    assert not found.gradients[0].cotangents.any()
    wanted = found.targets(draw())
    net[4].weight.data.mul_(2.0)
    assert float(tangents(net, Call((rows(1, 9),)), LAYERS, draw()).error(wanted).detach()) == 0.0
    net[4].bias.data.add_(1.0)
    assert float(tangents(net, Call((rows(1, 9),)), LAYERS, draw()).error(wanted).detach()) > 1.0


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
    for a, b in zip(mine.gradients, theirs.gradients, strict=True):
        assert torch.allclose(a.kernel(torch.arange(40)), b.kernel(torch.arange(40)))
    assert float(mine.error(theirs.targets(draw()))) < 1e-20
    slim[2].output_multiplicities.mul_(1.5)
    spoilt = tangents(slim, Call((x,)), LAYERS, draw())
    assert float(spoilt.error(theirs.targets(draw()))) > 1e-3


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
    for layer, name in zip(found.gradients, layers, strict=True):
        own = [*net.get_submodule(name).parameters()]
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad((net(x[i : i + 1]) * ways[i]).sum(), own)])
            for i in range(5)
        ]
        wanted = torch.stack(gradients)
        assert torch.allclose(layer.kernel(torch.arange(5)), wanted @ wanted.T)


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
    wanted = theirs.targets(draw())
    assert float(mine.error(wanted)) < 1e-20
    slim[0].output_multiplicities.mul_(1.5)
    assert float(tangents(slim, Call((x,)), layers, draw()).error(wanted)) > 1e-3


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
    assert float(mine.error(theirs.targets(draw()))) < 1e-18
