import numpy as np
import pytest
import torch

from jlab_compress import recombine


def relative_error(features, counts, kept):
    before = torch.cat([torch.ones_like(features[:, :1]), features], 1)
    after = before[kept.indices]
    missing = after.T @ kept.multiplicities - before.T @ counts
    return float((missing.abs() / (before.abs().T @ counts).clamp_min(1e-300)).max())


@pytest.mark.parametrize(("n", "functions"), [(1, 3), (5, 9), (10, 9), (11, 9), (500, 9), (30_000, 40)])
def test_sums_and_total_are_kept_by_few_positive_multiplicities(n, functions):
    features = torch.from_numpy(np.random.default_rng(n).standard_normal((n, functions)))
    counts = torch.from_numpy(np.random.default_rng(1).random(n) + 0.1)
    before = features.clone(), counts.clone()
    kept = recombine(features, counts)
    assert relative_error(features, counts, kept) <= 1e-13
    assert kept.residual <= 1e-13
    assert bool((kept.multiplicities > 0).all())
    assert len(kept.indices) <= kept.rank <= min(n, functions + 1)
    assert torch.equal(features, before[0])
    assert torch.equal(counts, before[1])
