import math

import pytest
import torch

from jlab_compress.fitting.aims.activation_only import UnitRows
from jlab_compress.fitting.aims.moments import fit_moments, fit_units_moments
from jlab_compress.fitting.layer import Layer
from tests.fitting.problems import clustered, dense, draw, gated

LAYER = dense(300, n_in=2, n_out=1, activation=torch.tanh)


def parameters(layer):
    return torch.cat([layer.incoming[0], layer.biases[0][:, None], layer.outgoing], dim=1)


def moments(layer, power):
    return layer.multiplicities @ parameters(layer) ** power


def test_moments_of_parameters_are_kept_and_those_of_a_plain_choice_are_not():
    slim = fit_moments(LAYER, 60).layer
    assert slim.width <= 60
    for power in (0, 1, 2):
        torch.testing.assert_close(moments(slim, power), moments(LAYER, power), rtol=0, atol=1e-9)
    plain = LAYER.select(torch.arange(60), torch.full((60,), 5.0).double())
    assert not torch.allclose(moments(plain, 1), moments(LAYER, 1), atol=1e-3)


def test_neurons_keep_their_weights_and_the_function_comes_near():
    fit = fit_moments(LAYER, 60, inputs=draw(50, 2))
    assert torch.equal(fit.layer.incoming[0], LAYER.incoming[0][fit.indices])
    assert fit.function_error < 0.2
    assert fit_moments(LAYER, 8, inputs=draw(50, 2)).function_error > fit.function_error
    assert math.isnan(fit_moments(LAYER, 60).function_error)
    assert fit.trains_alike is None


def test_copies_collapse_to_their_counts():
    layer = clustered(groups=12, copies=10)
    slim = fit_moments(layer, 100).layer
    assert slim.width == 12
    assert slim.multiplicities.tolist() == pytest.approx([10.0] * 12)


def test_a_gated_layer_comes_back_whole():
    layer = gated(200, n_in=1, n_out=1)
    slim = fit_moments(layer, 40).layer
    assert len(slim.incoming) == 2
    assert slim.biases == (None, None)
    sums = (slim.multiplicities[:, None] * slim.incoming[1]).sum(0)
    torch.testing.assert_close(sums, layer.incoming[1].sum(0))


def test_a_dimension_that_is_too_high_and_a_width_out_of_range_are_refused():
    with pytest.raises(ValueError, match="neurons with 9 parameters, which takes N = 10"):
        fit_moments(dense(40), 9)
    with pytest.raises(ValueError, match="size must be between"):
        fit_moments(dense(40), 41)


def test_units_of_an_activation_only_block_keep_their_moments_and_their_values_measure():
    layer = Layer(
        (draw(60, 2),), (None,), draw(60, 4, seed=2), None, torch.ones(60).double(), lambda z: z, False
    )
    rows = UnitRows(draw(90, 60))
    fit = fit_units_moments(layer, rows, 20)
    assert fit.layer.width <= 20
    assert float(fit.layer.multiplicities.sum()) == pytest.approx(60)
    torch.testing.assert_close(
        (fit.layer.multiplicities[:, None] * fit.layer.incoming[0]).sum(0), layer.incoming[0].sum(0)
    )
    assert 0 < fit.function_error < math.inf
    with pytest.raises(ValueError, match=r"size 5 cannot keep the moments of degree 1.*N = 7"):
        fit_units_moments(layer, rows, 5)
