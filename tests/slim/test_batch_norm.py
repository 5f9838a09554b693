"""A batch norm inside a slim block does what the stock one does on repeated units, whatever becomes of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import fold, plan_of
from jlab_compress.slim.storage import load, save
from jlab_compress.slim.weighted import WeightedLayer
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from jlab_compress.validation.validate import validate
from tests.models import repeat_channels, rows, seeded

FEW, TIMES = 5, 3
SHAPES = {1: (40, 4, 9), 2: (40, 4, 6, 6), 3: (30, 4, 4, 4, 4)}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def pair(dimensions=2, **options):
    """Return a stock net in which each channel comes three times, its slim form, and inputs."""

    def build():
        norm = NORMS[dimensions](FEW, **options)
        for value, low in (
            (norm.weight, 0.5),
            (norm.bias, -1),
            (norm.running_mean, -1),
            (norm.running_var, 0.5),
        ):
            nn.init.uniform_(value, low, 2.0)
        conv = CONVS[dimensions](4, FEW, 2)
        width = FEW * int(torch.tensor(SHAPES[dimensions][2:]).sub(1).prod())
        return nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(width, 2)).double()

    wide, x = seeded(build), rows(*SHAPES[dimensions])
    repeat_channels(wide[0], wide[1], wide[4], TIMES)
    slim = compress_baseline(wide.eval(), {"0": FEW}, calibration=x, method="random").model
    assert plan_of(slim).blocks[0].method == "exact duplicates"
    assert isinstance(slim[1], WeightedLayer)
    return wide, slim, x


def norm_with(**attributes):
    def change(model):
        for name, value in attributes.items():
            setattr(model[1], name, value)

    return change


def frozen(model):
    model[1].eval()


def scale_fixed(model):
    model[1].weight.requires_grad_(False)


def nothing(model):
    pass


WITHOUT_STATISTICS = norm_with(running_mean=None, running_var=None)
CHANGES = {
    "as it is": (nothing, nothing),
    "momentum None": (norm_with(momentum=None), nothing),
    "momentum 1": (norm_with(momentum=1.0), nothing),
    "momentum None later": (nothing, norm_with(momentum=None)),
    "not counting": (norm_with(num_batches_tracked=None, momentum=0.3), nothing),
    "not tracking": (norm_with(track_running_stats=False), nothing),
    "tracking until later": (nothing, norm_with(track_running_stats=False)),
    "tracking from later on": (norm_with(track_running_stats=False), norm_with(track_running_stats=True)),
    "without statistics": (WITHOUT_STATISTICS, nothing),
    "without statistics later": (nothing, WITHOUT_STATISTICS),
    "without statistics or tracking": (
        norm_with(running_mean=None, running_var=None, track_running_stats=False),
        nothing,
    ),
    "frozen": (frozen, nothing),
    "frozen later": (nothing, frozen),
    "frozen without statistics": (frozen, WITHOUT_STATISTICS),
    "a fixed scale": (scale_fixed, nothing),
    "reset": (nothing, lambda model: model[1].reset_running_stats()),
    "another eps": (norm_with(eps=0.3), nothing),
}


def live(model, x, change, later):
    """Train a while, change something on the way; return what was computed in training and evaluation."""
    optimizer, seen = torch.optim.SGD(model.parameters(), 0.05, momentum=0.5), []
    model.train()
    change(model)
    for step in range(6):
        if step == 3:
            later(model)
        optimizer.zero_grad()
        outputs = model(x[step::2])
        F.mse_loss(outputs, x[step::2].flatten(1)[:, :2]).backward()
        optimizer.step()
        seen.append(outputs.detach())
    kept = model[1].training
    with torch.no_grad():
        seen.append(model.eval()(x))
    model.train()
    model[1].train(kept)
    return torch.cat(seen)


def same(one, other):
    return (one is None and other is None) or torch.allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CHANGES)
def test_every_behaviour_is_that_of_the_stock_norm_on_repeated_channels(name):
    wide, slim, x = pair()
    kept = list(plan_of(slim).blocks[0].indices)
    assert same(live(slim, x, *CHANGES[name]), live(wide, x, *CHANGES[name]))
    for part in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(wide[1], part)
        assert same(getattr(slim[1], part), None if values is None else values[kept]), part
    assert same(slim[1].num_batches_tracked, wide[1].num_batches_tracked)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"momentum": None, "eps": 0.1}])
def test_all_dimensions_and_options_of_the_original_come_along(dimensions, options):
    wide, slim, x = pair(dimensions, **options)
    assert same(live(slim, x, nothing, nothing), live(wide, x, nothing, nothing))
    assert (slim[1].momentum, slim[1].eps) == (wide[1].momentum, wide[1].eps)


def test_gradients_that_are_not_divided_would_show():
    wide, slim, x = pair()
    slim[1].output_multiplicities.fill_(1.0)
    assert not same(live(slim, x, nothing, nothing), live(wide, x, nothing, nothing))


def test_a_slim_norm_without_statistics_is_folded_saved_judged_and_carried_over(tmp_path):
    """Statistics are taken away for test-time adaptation, after the model was made."""
    wide, slim, x = pair()
    stock = copy.deepcopy(wide)
    for model in (wide, slim):
        WITHOUT_STATISTICS(model)
    with torch.no_grad():
        assert same(fold(slim)(x), wide(x))
        save(slim, tmp_path / "slim")
        assert same(load(tmp_path / "slim", wide)(x), wide(x))
    with pytest.raises(ValueError, match=r"1\.running_mean would be \[5\] here and is missing"):
        load(tmp_path / "slim", stock)
    batches = [(x[:20], x[:20].flatten(1)[:, :2]), (x[20:], x[20:].flatten(1)[:, :2])]
    sgd = lambda parameters: torch.optim.SGD(parameters, 0.05)  # noqa: E731
    found = validate(
        wide, slim, batches, F.mse_loss, optimizer=sgd, references=("another batch order",), progress=False
    )
    assert found.verdict.label == "trains alike"
    assert transfer_optimizer(sgd(wide.parameters()), wide, slim).param_groups[0]["lr"] == 0.05


def test_a_slim_norm_is_not_synchronised_in_silence():
    _, slim, _ = pair()
    with pytest.raises(
        ValueError, match=r"slim batch norm: it cannot become a SyncBatchNorm .*fold\(model\)"
    ):
        nn.SyncBatchNorm.convert_sync_batchnorm(slim)
    assert isinstance(slim[1], WeightedLayer)
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(fold(slim))[1], nn.SyncBatchNorm)


class Frozen(nn.Module):
    """The form of detection models: statistics and scale are buffers."""

    def __init__(self, n):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(n) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class Called(Frozen):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.SyncBatchNorm(6), "1 is a SyncBatchNorm, not a plain batch norm"),
        (nn.BatchNorm2d(6, affine=False), "the batch norm 1 lacks a scale, a shift or running statistics"),
        (nn.BatchNorm2d(6, track_running_stats=False), "lacks a scale, a shift or running statistics"),
        (Frozen(6), "`mul` combines its hidden units with values that are not single units"),
        (Called(6), "1 is a Called, not"),
    ],
)
def test_other_forms_in_the_original_are_refused_with_the_reason(norm, reason):
    net = nn.Sequential(nn.Conv2d(4, 6, 2), norm, nn.ReLU(), nn.Conv2d(6, 2, 2)).eval()
    (block,) = find_blocks(net, torch.randn(4, 4, 6, 6))
    assert reason in block.locked


def test_a_scale_without_a_shift_is_refused_where_torch_has_it():
    norm = nn.BatchNorm2d(6)
    norm.bias = None
    net = nn.Sequential(nn.Conv2d(4, 6, 2), norm, nn.ReLU(), nn.Conv2d(6, 2, 2)).eval()
    (block,) = find_blocks(net, torch.randn(4, 4, 6, 6))
    assert "lacks a scale, a shift or running statistics" in block.locked
