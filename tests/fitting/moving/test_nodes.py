import torch

from jlab_compress.fitting.displacement import is_untrained
from jlab_compress.fitting.kernels.probes import smooth_values
from jlab_compress.fitting.moving.nodes import teacher_targets
from tests.fitting.problems import dense, draw

X = draw(400, 5)


def test_smooth_values_are_as_large_as_white_noise_and_alike_at_near_rows():
    values = smooth_values(torch.cat([X, X + 0.01]), 3, torch.Generator().manual_seed(0))
    assert 0.5 < values.square().mean().sqrt() < 1.5
    assert (values[:400] - values[400:]).norm() < 0.05 * values[:400].norm()


def test_probes_are_white_unless_smooth_ones_are_asked_for():
    layer = dense(20)
    twice = torch.cat([X[:1], X[:1]])
    white, smooth = (
        teacher_targets(layer, twice, smooth=s, minibatches=1)[0].residuals for s in (False, True)
    )
    assert torch.equal(smooth[:, 0], smooth[:, 1])
    assert not torch.equal(white[:, 0], white[:, 1])


def test_only_a_layer_that_has_learnt_nothing_is_probed_smoothly():
    trained = dense(20)
    assert not is_untrained(trained, X, 0.0)
    assert is_untrained(trained, X, 100.0)
