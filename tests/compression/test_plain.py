import pytest
import torch
from torch import nn

from jlab_compress import find_blocks
from jlab_compress.compression.plain import check_plain, plain_gauge
from jlab_compress.fitting.layer import Layer
from tests.models import mlp, rows, seeded

X = rows(20, 6)


def layer(activation):
    w, v = rows(8, 6), rows(8, 3, seed=1)
    return Layer((w,), (rows(8, seed=2),), v, None, 1 + rows(8, seed=3).abs(), activation)


def test_without_multiplicities_a_homogeneous_layer_computes_the_same():
    relu = layer(torch.relu)
    plain = plain_gauge(relu)
    assert torch.equal(plain.multiplicities, torch.ones(8).double())
    assert torch.allclose(plain(X), relu(X))
    assert torch.allclose(plain.incoming[0], relu.incoming[0] * relu.multiplicities.sqrt()[:, None])


def test_another_layer_would_compute_something_else():
    assert not torch.allclose(plain_gauge(layer(torch.tanh))(X), layer(torch.tanh)(X), rtol=0.1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: mlp(6, 16, 2, activation=nn.Tanh), "block 0 has the activation tanh, for which"),
        (
            lambda: nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)),
            "block 0 has the batch norm 1, which undoes any scale",
        ),
    ],
)
def test_blocks_whose_multiplicities_must_stay_are_refused(build, words):
    net = seeded(build).double().eval()
    with pytest.raises(ValueError, match=f"^plain: {words}.*pass plain=False$"):
        check_plain(find_blocks(net, X))
    check_plain(find_blocks(mlp(6, 16, 2), X))
