import pytest
import torch

from jlab_compress.fitting.moving.parameters import FreeParameters
from tests.fitting.problems import dense, draw, gated, tensors

COUNTS = torch.linspace(0.5, 3, 12).double()


@pytest.mark.parametrize("layer", [dense(12), gated(12)], ids=["dense", "gated"])
def test_the_start_is_the_layer_and_every_tensor_has_unit_size(layer):
    layer = layer.select(torch.arange(12), COUNTS)
    free = FreeParameters(layer)
    for found, wanted in zip(tensors(free.layer()), tensors(layer), strict=True):
        torch.testing.assert_close(found, wanted)
    for weight in free.weights:
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(1)
    torch.testing.assert_close(free.log_counts.exp(), COUNTS)


def test_gradients_reach_every_parameter_and_the_layer_itself_is_left_alone():
    layer = dense(12).select(torch.arange(12), COUNTS)
    before = [t.clone() for t in tensors(layer)]
    free = FreeParameters(layer)
    free.layer()(draw(9, 5)).square().sum().backward()
    with torch.no_grad():
        for parameter in (*free.weights, free.log_counts):
            assert bool(parameter.grad.any())
            parameter -= 0.1 * parameter.grad
    assert all(torch.equal(a, b) for a, b in zip(tensors(layer), before, strict=True))
    assert not torch.equal(free.layer().incoming[0], layer.incoming[0])
    assert not any(t.requires_grad for t in tensors(free.layer(detached=True)))


def test_multiplicities_stay_positive_however_far_they_move():
    free = FreeParameters(dense(12))
    with torch.no_grad():
        free.log_counts -= 100.0
    assert bool((free.layer().multiplicities > 0).all())
