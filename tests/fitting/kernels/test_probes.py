import pytest
import torch

from jlab_compress.fitting.kernels.probes import smooth_probes, smooth_values, white_probes
from tests.fitting.problems import draw

X = draw(400, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_smooth_values_are_as_large_as_white_noise_and_alike_at_near_rows(scale):
    values = smooth_values(scale * torch.cat([X, X + 0.01]), 3, seeded())
    assert 0.5 < float(values.square().mean().sqrt()) < 1.5
    assert float((values[:400] - values[400:]).norm()) < 0.05 * float(values[:400].norm())
    assert float((values[:200] - values[200:400]).norm()) > 0.5 * float(values[:200].norm())


def test_probes_are_one_draw_after_the_other():
    generator = seeded()
    one, two = smooth_probes(X, 3, 2, seeded())
    assert torch.equal(one, smooth_values(X, 3, generator))
    assert torch.equal(two, smooth_values(X, 3, generator))
    assert not torch.equal(one, two)


def test_white_probes_know_nothing_of_the_rows():
    twice = torch.cat([X[:1], X[:1]]).float()
    probes = white_probes(twice, 2000, 3, seeded())
    assert probes.shape == (3, 2, 2000)
    assert probes.dtype == torch.float32
    assert float(probes.std()) == pytest.approx(1, rel=0.05)
    assert abs(float((probes[:, 0] * probes[:, 1]).mean())) < 0.1
    smooth = smooth_probes(twice, 20, 1, seeded())
    assert torch.equal(smooth[:, 0], smooth[:, 1])
