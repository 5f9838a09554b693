import pytest
import torch

from jlab_compress.fitting.displacement import displacement_of, is_untrained, layer_displacement
from tests.fitting.problems import dense, draw

X = draw(300, 5, seed=9)


def fresh(n=4000):
    return dense(n, activation=torch.tanh).with_outgoing(draw(n, 3, seed=8) / n**0.5, None)


def test_a_layer_with_random_signs_is_expected_to_move_ten_times_its_outputs():
    layer = fresh()
    size = float(layer(X).square().mean().sqrt())
    assert layer_displacement(layer, X) == pytest.approx(10 * size, rel=0.3)
    assert is_untrained(layer, X, layer_displacement(layer, X))


def test_a_layer_whose_neurons_agree_is_expected_to_stay():
    layer = fresh()
    trained = layer.with_outgoing(
        layer.hidden(X).mean(0, keepdim=True).T.expand(-1, 3).sign() / 4000**0.5, None
    )
    assert layer_displacement(trained, X + 1) < 0.1 * float(trained(X + 1).square().mean().sqrt())
    assert not is_untrained(trained, X + 1, layer_displacement(trained, X + 1))


def test_copies_that_are_counted_are_as_good_as_copies():
    layer = dense(12, activation=torch.tanh)
    copies = layer.select(torch.arange(12).repeat_interleave(5))
    counted = layer.select(torch.arange(12), torch.full((12,), 5.0).double())
    fewer = layer.select(torch.arange(6), torch.full((6,), 5.0).double())
    assert layer_displacement(counted, X) == pytest.approx(layer_displacement(copies, X))
    assert layer_displacement(counted, X) != pytest.approx(layer_displacement(fewer, X), rel=0.1)


def test_a_scale_of_the_weights_is_a_scale_of_the_displacement():
    hidden, outgoing, counts = draw(50, 8), draw(8, 2, seed=1), torch.ones(8).double()
    assert displacement_of(hidden, 3 * outgoing, counts) == pytest.approx(
        3 * displacement_of(hidden, outgoing, counts)
    )
