"""Rows that enter and leave layers over a whole calibration, a fair draw of them, and refusals."""

import pytest
import torch
from torch import nn

from jlab_compress.compression.signals.layer_rows import layer_rows, rows_with_graph
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Tap
from tests.models import rows

X = rows(50, 3)
CALLS = [Call((part,)) for part in X.split(20)]
TAPS = {"inputs": Tap("2", "input"), "outputs": Tap("2")}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()


@torch.no_grad()
def test_rows_are_those_of_the_calibration_in_order(net):
    found = layer_rows(net, CALLS, TAPS)
    assert torch.allclose(found["inputs"], net[:2](X))
    assert torch.allclose(found["outputs"], net(X))


def test_too_many_rows_are_thinned_alike_for_every_layer_and_model(net):
    found = layer_rows(net, CALLS, TAPS, most=7)
    assert [len(rows) for rows in found.values()] == [7, 7]
    with torch.no_grad():
        assert torch.allclose(net[2](found["inputs"]), found["outputs"])
    alone = layer_rows(net, CALLS, {"outputs": Tap("2")}, most=7)["outputs"]
    assert torch.equal(alone, found["outputs"])
    assert not torch.equal(layer_rows(net, CALLS, TAPS, most=7, seed=1)["outputs"], alone)


def test_what_enters_a_convolution_are_patches():
    conv = nn.Conv1d(2, 3, 3)
    x = rows(4, 2, 5).float()
    found = layer_rows(nn.Sequential(conv), [Call((x,))], {"inputs": Tap("0", "input")})["inputs"]
    assert torch.equal(found, x.unfold(2, 3, 1).transpose(1, 2).reshape(12, 6))


def test_batches_are_counted(net):
    done = []
    layer_rows(net, CALLS, TAPS, progress=lambda: done.append(True))
    assert len(done) == 3


def test_what_cannot_be_read_is_said(net):
    with pytest.raises(
        ValueError,
        match=r"calibration batch 1: the model fails on it \(RuntimeError: .* cannot be multiplied",
    ):
        layer_rows(net, [CALLS[0], Call((X[:, :2],))], TAPS)
    with pytest.raises(ValueError, match="batch 0: it does not reach never; pass inputs that do"):
        layer_rows(Partly(net), CALLS, {"at": Tap("never")})
    with pytest.raises(ValueError, match="calibration batch 0: it reaches 2 with NaN"):
        layer_rows(net, [Call((X * torch.nan,))], TAPS)
    with pytest.raises(ValueError, match="calibration batch 0: it gives 50 rows at other where 1 were"):
        layer_rows(Partly(net), [Call((X,))], {"sum": Tap("first", "input"), "at": Tap("other")})


class Partly(nn.Module):
    """Has a part that does not run, and one that sees one row only."""

    def __init__(self, inner):
        super().__init__()
        self.first, self.never = nn.Identity(), nn.Identity()
        self.other = inner

    def forward(self, x):
        self.first(x[:1])
        return self.other(x)


def test_rows_with_a_graph_can_be_differentiated(net):
    found = rows_with_graph(net, Call((X,)), "0")
    (sent,) = torch.autograd.grad(found.sum(), net[0].bias)
    assert sent.tolist() == [50.0] * 4
    conv = nn.Sequential(nn.Conv1d(2, 3, 3))
    assert rows_with_graph(conv, Call((rows(4, 2, 5).float(),)), "0").shape == (12, 3)
