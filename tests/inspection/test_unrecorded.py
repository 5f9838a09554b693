"""Layers that no record tells apart are listed, locked."""

import warnings

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.prepare import prepare
from jlab_compress.inspection.find import find_blocks
from jlab_compress.inspection.unrecorded import NOT_RUN, unconfirmed_layers, unseen_layers
from tests.models import mlp, rows


@pytest.mark.parametrize(
    ("layer", "kind", "width", "words"),
    [
        (nn.GRU(3, 8), "recurrent", 8, "is recurrent"),
        (nn.LSTMCell(3, 8), "recurrent", 8, "is recurrent"),
        (nn.ConvTranspose1d(3, 5, 2), "conv", 5, "is a transposed convolution"),
    ],
)
def test_recurrent_and_transposed_layers(layer, kind, width, words):
    (block,) = unseen_layers(nn.Sequential(layer, nn.Linear(8, 2)))
    assert (block.name, block.kind, block.width, block.units) == ("0", kind, width, ())
    assert words in block.locked


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_layers():
    net = torch.ao.quantization.quantize_dynamic(mlp(4, 8, 2, dtype=torch.float32), {nn.Linear})
    assert [(b.name, b.width, "quantised" in b.locked) for b in unseen_layers(net)] == [
        ("0", 8, True),
        ("2", 2, True),
    ]


def test_neighbours_of_a_model_that_did_not_run():
    (block,) = unconfirmed_layers(mlp(4, 8, 2))
    assert (block.name, block.outgoing, block.width, block.locked) == ("0", "2", 8, NOT_RUN)
    assert (block.dimension, block.parameters) == (4 + 1 + 2, 8 * 7)
    assert unconfirmed_layers(nn.Linear(3, 2)) == []


class Scaled(torch.Tensor):
    """Stands for a quantised weight: a tensor of another class, of which not every question is answered."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.isfinite:
            raise NotImplementedError("isfinite")
        if func in (torch.Tensor.data.__get__, torch.Tensor.detach):
            return super().__torch_function__(func, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __deepcopy__(self, memo):
        plain = self.detach().as_subclass(torch.Tensor).clone()
        return memo.setdefault(id(self), nn.Parameter(plain.as_subclass(Scaled), requires_grad=False))


def quantised(net):
    net[0].weight = nn.Parameter(net[0].weight.detach().as_subclass(Scaled), requires_grad=False)
    return net


X = rows(40, 5, dtype=torch.float32)
PARTS = {
    "scripted": (torch.jit.script, "0 is a TorchScript module, whose layers cannot be replaced"),
    "traced": (lambda net: torch.jit.trace(net, X[:2]), "0 is a TorchScript module"),
    "exported": (lambda net: torch.export.export(net, (X[:8],)).module(), "0 is an exported program"),
    "in another form": (quantised, "0.0 holds its weight as a Scaled; compress first"),
}


@pytest.mark.parametrize("form", PARTS)
def test_a_closed_part_is_listed_and_the_rest_stays_open(form):
    made, words = PARTS[form]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = made(mlp(5, 9, 4, dtype=torch.float32))
    net = nn.Sequential(part, mlp(4, 12, 3, dtype=torch.float32))
    found = find_blocks(net, X[:8])
    assert any(block.locked and block.locked.startswith(words) for block in found)
    assert found.named("1.0").locked is None
    assert found.notes == ()
    if form != "exported":  # its batch is fixed
        slim = compress_baseline(net, {"1.0": 5}, calibration=X, method="magnitude").model
        assert slim(X).shape == net(X).shape


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_without_values_is_refused(whole):
    net = nn.Sequential(mlp(5, 9, 4), mlp(4, 6, 3))
    (net if whole else net[0]).to("meta")
    for call in (lambda: find_blocks(net, rows(8, 5)), lambda: prepare(net, rows(8, 5))):
        with pytest.raises(
            ValueError, match=r"model: 0\.0\.weight is on the meta device and has no values; load"
        ):
            call()
