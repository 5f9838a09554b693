import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.signals.positions import patches
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import fold
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.storage import load, save
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from tests.models import repeat_channels, rows, seeded

X = rows(24, 2, 10, 10)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = F.relu(F.max_pool2d(x, 2) + y)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def net(*middle, channels=8, read=96):
    parts = (nn.Conv2d(2, channels, 3), *middle, nn.Conv2d(channels, 4, 3, padding=(1, 0), dilation=2))
    return nn.Sequential(*parts, nn.ReLU(), nn.Flatten(), nn.Linear(read, 3)).double()


def warm(model):
    with torch.no_grad():
        for seed in range(3):
            model.train()(rows(24, 2, 10, 10, seed=seed))
    return model.eval()


def test_inner_channels_of_a_residual_block_are_free_and_the_stream_is_locked():
    blocks = find_blocks(seeded(Residual).double().eval(), X)
    free = {b.name: (b.kind, b.norm, b.width, b.outgoing) for b in blocks.unlocked}
    assert free == {"conv1": ("conv", "bn1", 8, "conv2")}
    assert {b.name: "residual stream" in b.locked for b in blocks if b.locked} == {"stem": True}


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ((nn.Conv2d(8, 8, 3, groups=2), nn.ReLU()), "in groups"),
        ((nn.Conv2d(8, 8, 3, groups=8, padding_mode="circular", padding=1), nn.ReLU()), "other than numbers"),
        ((nn.ReLU(), nn.BatchNorm2d(8, affine=False)), "lacks a scale, a shift or running statistics"),
        ((nn.BatchNorm2d(8, affine=False), nn.ReLU()), "lacks a scale, a shift or running statistics"),
        ((nn.GroupNorm(2, 8), nn.ReLU()), "one parameter for each hidden unit"),
        ((nn.Softmax(dim=1),), "mixes its hidden units"),
        ((nn.LocalResponseNorm(2),), "works on all hidden units together"),
    ],
)
def test_channels_that_are_coupled_are_locked_with_the_reason(middle, reason):
    model = seeded(lambda: net(*middle, channels=8)).eval()
    cut = isinstance(middle[0], nn.Conv2d) and not middle[0].padding[0]
    x = rows(4, 2, 12, 12) if cut else rows(4, 2, 10, 10)
    locked = [b.locked for b in find_blocks(model, x) if b.locked]
    assert any(reason in words for words in locked), locked


def test_the_layer_of_a_conv_block_adds_up_to_what_the_network_computes():
    model = warm(seeded(lambda: net(nn.BatchNorm2d(8), nn.GELU())))
    block = find_blocks(model, X).unlocked[0]
    layer = read_layer(model, block, block.activation)
    seen = F.unfold(X, 3).transpose(1, 2)
    hidden = layer.hidden(seen.flatten(0, 1)).reshape(24, 64, 8).transpose(1, 2).reshape(24, 8, 8, 8)
    with torch.no_grad():
        assert torch.allclose(hidden, model[:3](X))
        kernels = layer.outgoing.reshape(8, 4, 3, 3).transpose(0, 1)
        assert torch.allclose(F.conv2d(hidden, kernels, model[3].bias, 1, (1, 0), 2), model[:4](X))
    drawn = patches(model[0], X)
    assert drawn.shape == (24, 64, 18)
    assert patches(model[0], rows(2, 2, 40, 40)).shape == (2, 64, 18)


@pytest.mark.parametrize("method", ["greedy", "k-means", "nnls"])
@pytest.mark.parametrize("norm", [True, False])
def test_slim_folded_and_reloaded_conv_nets_agree(method, norm, tmp_path):
    def build():
        return net(*([nn.BatchNorm2d(8)] if norm else []), nn.ReLU())

    model = warm(seeded(build))
    slim = compress_baseline(model, {"0": 5}, calibration=X, method=method).model
    assert slim[0].out_channels == 5
    with torch.no_grad():
        expected = slim(X)
        assert (expected - model(X)).norm() < 0.8 * model(X).norm()
        folded = fold(slim)
        assert {type(m) for m in folded.modules()} == {type(m) for m in model.modules()}
        assert torch.allclose(folded(X), expected)
        save(slim, tmp_path / "slim")
        assert torch.equal(load(tmp_path / "slim", warm(build()))(X), expected)
        before = slim(X)
        slim.train()(X)
        assert (slim.eval()(X) - before).norm() < 0.3 * before.norm(), "the new batch norm statistics are off"


@pytest.mark.parametrize("method", ["greedy", "random", "k-means"])
@pytest.mark.parametrize("reader", ["conv", "linear"])
@pytest.mark.parametrize("norm", [True, False])
def test_the_bias_of_the_layer_that_reads_channels_stays(method, reader, norm):
    """What a refit adds to it is little, as it is the mean of what a single channel less gives."""
    last = (nn.Conv2d(8, 4, 3),) if reader == "conv" else (nn.Flatten(), nn.Linear(8 * 64, 4))
    middle = (nn.BatchNorm2d(8), nn.ReLU()) if norm else (nn.ReLU(),)
    model = warm(seeded(nn.Sequential, nn.Conv2d(2, 8, 3), *middle, *last).double())
    with torch.no_grad():
        model[-1].bias.fill_(5.0)
        slim = compress_baseline(model, {"0": 7}, calibration=X, method=method).model
        assert torch.allclose(slim[-1].bias, model[-1].bias, atol=0.3)
        assert (slim(X) - model(X)).norm() < 0.1 * model(X).norm()


def test_the_full_fits_take_channels_too(monkeypatch):
    model = warm(seeded(lambda: net(nn.BatchNorm2d(8), nn.ReLU())))
    result = compress(model, {"0": 5, "3": 3}, calibration=X, preserve="function", progress=False)
    assert [b.width_after for b in result.plan.blocks] == [5, 3]
    assert (result.plan.blocks[1].entries_per_unit, result.model[6].in_features) == (24, 72)
    assert any("single positions" in note for note in result.report.notes)
    with torch.no_grad():
        assert (result.model(X) - model(X)).norm() < 0.9 * model(X).norm()


class Inverted(nn.Module):
    """MobileNet's block: expand, filter each channel, project, add."""

    def __init__(self, channels=6, inner=9, times=1):
        super().__init__()
        self.expand, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.deep = nn.Conv2d(inner, inner * times, 3, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner * times)
        self.project, self.bn3 = nn.Conv2d(inner * times, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.pad(F.relu6(self.bn1(self.expand(x))), (1, 1, 1, 1))
        y = F.interpolate(F.relu6(self.bn2(self.deep(y))), x.shape[2:])
        return x + self.bn3(self.project(y))


def mobile():
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    return nn.Sequential(nn.Conv2d(2, 6, 3), Inverted(), Inverted(times=2), *ends).double()


@pytest.mark.parametrize("how", ["function", "dynamics", "random", "magnitude", "greedy", "nnls"])
def test_channels_between_depthwise_convolutions_are_kept_whole(how, tmp_path):
    model = warm(seeded(mobile))
    blocks = {b.name: b for b in find_blocks(model, X).unlocked}
    assert [(n, b.width, b.channelwise) for n, b in blocks.items()] == [
        (f"{i}.expand", 9, (f"{i}.bn1", f"{i}.deep", f"{i}.bn2")) for i in (1, 2)
    ]
    before = copy.deepcopy(model.state_dict())
    if how in ("function", "dynamics"):
        result = compress(model, 6, calibration=X, preserve=how, progress=False)
    else:
        result = compress_baseline(model, 6, calibration=X, method=how)
    slim = result.model
    assert slim[1].deep.groups == slim[1].deep.out_channels == slim[1].expand.out_channels
    assert slim[2].deep.out_channels == slim[2].bn2.num_features == 2 * slim[2].deep.groups
    with torch.no_grad():
        expected = slim(X)
        folded = fold(slim)
        assert {type(m) for m in folded.modules()} == {type(m) for m in model.modules()}
        assert torch.allclose(folded(X), expected)
        save(slim, tmp_path / "slim")
        assert torch.equal(load(tmp_path / "slim", warm(seeded(mobile, seed=4)))(X), expected)
        assert (expected - model(X)).norm() < 0.5 * model(X).norm()
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_ways_that_compute_single_channels_are_refused_there():
    with pytest.raises(ValueError, match=r"block 1.expand: only a run of the model tells.*'k-means'"):
        compress_baseline(warm(seeded(mobile)), 6, calibration=X, method="k-means")


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv1d(2, 3, 4, stride=3, padding=2, dilation=2), (3, 2, 20)),
        (nn.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), (3, 2, 6, 7)),
        (nn.Conv3d(2, 3, 2, stride=2, padding=1), (3, 2, 4, 5, 6)),
    ],
)
def test_patches_are_what_the_filter_sees(conv, shape):
    x, conv = rows(*shape), conv.double()
    with torch.no_grad():
        expected = conv(x).flatten(2).transpose(1, 2)
        assert torch.allclose(patches(conv, x) @ conv.weight.flatten(1).T + conv.bias, expected)


@pytest.mark.parametrize("n", [1, 3])
def test_convolutions_of_other_ranks_are_blocks(n):
    conv, norm, pool = (getattr(nn, f"{name}{n}d") for name in ("Conv", "BatchNorm", "AdaptiveAvgPool"))

    def build():
        body = conv(2, 8, 3), norm(8), nn.GELU(), conv(8, 4, 2), nn.ReLU()
        return nn.Sequential(*body, pool(1), nn.Flatten(), nn.Linear(4, 2)).double()

    model = seeded(build)
    x = rows(24, 2, *[6] * n)
    model.train()(x)
    blocks = find_blocks(model.eval(), x)
    assert [(b.kind, b.width, b.locked) for b in blocks] == [("conv", 8, None), ("conv", 4, None)]
    result = compress(model, {"0": 4}, calibration=x, preserve="function", progress=False)
    assert (result.model(x) - model(x)).norm() < 0.3 * model(x).norm()
    assert type(fold(result.model)[0]) is conv


def test_plain_gauge_is_refused_behind_a_batch_norm():
    model = warm(seeded(lambda: net(nn.BatchNorm2d(8), nn.ReLU())))
    with pytest.raises(ValueError, match="block 0 has the batch norm 1, which undoes any scale"):
        compress(model, {"0": 5}, calibration=X, plain=True, progress=False)


def trained(model, optimizer, steps):
    for step in range(steps):
        x = rows(8, 2, 10, 10, seed=step)
        optimizer.zero_grad()
        (model.train()(x) - x.mean(dim=(1, 2, 3))[:, None]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval()(X)


def test_an_optimizer_goes_on_with_channels_batch_norms_and_flattened_channels():
    """Repeated channels in both blocks: one behind a batch norm, one read position by position."""
    model = warm(seeded(lambda: net(nn.BatchNorm2d(8), nn.ReLU())))
    repeat_channels(model[0], model[1], model[3], 2)
    repeat_flattened(model[3], model[6], 3)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    trained(model, adam, 20)
    slim = compress(model, {"0": 8, "3": 4}, calibration=X, progress=False).model
    carried = transfer_optimizer(adam, model, slim)
    fresh = copy.deepcopy(slim)
    for name, parameter in slim.named_parameters():
        assert carried.state[parameter]["exp_avg"].shape == parameter.shape, name
    expected = trained(model, adam, 20)
    assert torch.allclose(trained(slim, carried, 20), expected, atol=1e-8)
    restarted = trained(fresh, torch.optim.Adam(fresh.parameters(), 1e-2), 20)
    assert (restarted - expected).norm() > 1e-3 * expected.norm(), "the state makes no difference here"


def repeat_flattened(conv, reader, times):
    old = reader.weight.detach().reshape(3, conv.out_channels, -1) / times
    for name in ("weight", "bias"):
        setattr(conv, name, nn.Parameter(getattr(conv, name).detach().repeat_interleave(times, 0)))
    conv.out_channels *= times
    reader.weight = nn.Parameter(old.repeat_interleave(times, 1).flatten(1))
    reader.in_features = reader.weight.shape[1]


def test_an_optimizer_state_is_refused_where_moved_channels_have_new_scales():
    model = warm(seeded(lambda: net(nn.BatchNorm2d(8), nn.ReLU())))
    momentum = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    plain = torch.optim.SGD(model.parameters(), 1e-2)
    trained(model, momentum, 2)
    slim = compress_baseline(model, {"0": 5}, calibration=X, method="k-means").model
    assert slim.jlab_compress_plan.blocks[0].indices is None
    with pytest.raises(
        ValueError, match=r"block '0' has moved neurons .* batch norm 1.*start a new optimizer"
    ):
        transfer_optimizer(momentum, model, slim)
    assert len(transfer_optimizer(plain, model, slim).param_groups) == 1
