import pytest
import torch

from jlab_compress.fitting.forecast.subset_curve import subset_curve
from jlab_compress.fitting.kernels.actions import kernel_error
from tests.fitting.problems import clustered, dense, draw

X = draw(160, 5, seed=9)


def weighted_subset(layer, curve, s):
    """The layer of the first s neurons with the multiplicities that the curve stands for."""
    order = curve.chosen.order[:s]
    solution = torch.linalg.solve_triangular(
        curve.chosen.factor[:s][:, order], curve.chosen.reached[:s], upper=True
    )
    return layer.select(order, solution[:, 0])


def test_errors_fall_with_the_width_and_vanish_at_the_number_of_distinct_neurons():
    layer = clustered(groups=6, copies=4)
    errors = subset_curve(layer, X[:100], X[100:], 6, displacement=0.0).errors((1, 3, 6))
    for part in (0, 1):
        falling = [e[part] for e in errors]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > 0.1
        assert falling[-1] < 1e-3


@pytest.mark.parametrize("size", [4, 12])
def test_they_are_the_errors_of_those_weighted_subsets(size):
    layer, held = dense(30, activation=torch.tanh), X[100:]
    curve = subset_curve(layer, X[:100], held, 12, displacement=0.0)
    ((function, kernel),) = curve.errors((size,))
    slim = weighted_subset(layer, curve, size)
    full = layer(held) - layer.outgoing_bias
    assert function == pytest.approx(float((slim(held) - layer(held)).norm() / full.norm()))
    assert kernel == pytest.approx(kernel_error(slim, layer, held, n_probes=200), rel=0.25)


def test_where_outputs_will_move_far_the_kernel_decides():
    layer = dense(60, activation=torch.tanh)
    near, far = (
        subset_curve(layer, X[:100], X[100:], 10, displacement=d).errors((10,))[0] for d in (0.0, 100.0)
    )
    assert far[0] > near[0]
    assert far[1] < near[1]
