import numpy as np
import pytest
import torch

from jlab_compress.core.reweighting import draw_strata, reweight


def counts_of(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, n))


@pytest.mark.parametrize("size", [1, 7, 50])
def test_strata_share_the_mass_out(size):
    counts = counts_of(200)
    indices, masses = draw_strata(counts, size, seed=1)
    assert 1 <= len(indices) <= size
    assert indices.tolist() == sorted(set(indices.tolist()))
    assert float(masses.sum()) == pytest.approx(float(counts.sum()), rel=1e-12)
    strata = masses * size / counts.sum()
    torch.testing.assert_close(strata, strata.round(), rtol=0, atol=1e-9)


def test_an_object_without_mass_is_never_drawn_and_one_with_half_of_it_always():
    counts = torch.ones(100).double()
    counts[::3], counts[50] = 0.0, 70.0
    for seed in range(20):
        indices, masses = draw_strata(counts, 8, seed)
        assert bool((counts[indices] > 0).all())
        assert float(masses[indices == 50].sum()) >= 0.4 * float(counts.sum())


def test_each_object_is_drawn_in_proportion_to_its_mass():
    counts = torch.tensor([1.0, 3.0, 6.0, 2.0, 2.0]).double()
    total = torch.zeros(5).double()
    for seed in range(6000):
        indices, masses = draw_strata(counts, 2, seed)
        total[indices] += masses / 6000
    torch.testing.assert_close(total, counts, rtol=0.1, atol=0)
    assert not torch.allclose(total, counts.mean().expand(5), rtol=0.1)


def test_multiplicities_are_found_that_have_the_moments():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (80, 3))
    rows = np.hstack([np.ones((80, 1)), points, points**2]) * rng.uniform(0.8, 1.2, (80, 1))
    moments = rows.T @ rng.uniform(0.7, 1.3, 80)
    ratios = reweight(rows, moments)
    assert ratios.min() > 0
    assert rows.T @ ratios == pytest.approx(moments, abs=1e-9 * np.abs(rows).sum())
    assert rows.T @ np.ones(80) != pytest.approx(moments, abs=1e-3 * np.abs(rows).sum(0).min())


def test_moments_that_no_positive_multiplicities_have_are_given_up():
    rows = np.hstack([np.ones((30, 1)), np.random.default_rng(0).uniform(0.1, 1, (30, 1))])
    assert reweight(rows, np.array([30.0, 15.0])) is not None
    assert reweight(rows, np.array([30.0, 40.0])) is None
    assert reweight(rows, np.array([30.0, -1.0])) is None


def test_a_function_that_vanishes_everywhere_is_given_up():
    rows = np.hstack([np.ones((30, 1)), np.zeros((30, 1))])
    assert reweight(rows, np.array([30.0, 0.0])) is None
