import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jlab_compress.data.dataset import compress_dataset


def regression(n=2000):
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (n, 2)))
    return x, torch.sin(2 * x[:, :1]) * x[:, 1:]


def test_the_weighted_loss_of_any_smooth_model_is_the_full_loss():
    x, y = regression()
    kept = compress_dataset(x, y, size=100)
    chance = torch.from_numpy(np.random.default_rng(1).choice(2000, 100, replace=False))
    errors, random_errors = [], []
    for seed in range(5):
        weight = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, 1)))

        def losses(inputs, targets, weight=weight):
            return (torch.tanh(inputs @ weight) - targets).square()[:, 0]

        full = losses(x, y).mean()
        errors.append(float(((losses(kept.inputs, kept.targets) * kept.loss_weights).mean() - full).abs()))
        random_errors.append(float((losses(x[chance], y[chance]).mean() - full).abs()))
    assert max(errors) < 1e-4
    assert np.mean(errors) < np.mean(random_errors) / 100
    assert float(kept.multiplicities.sum()) == pytest.approx(2000, rel=1e-12)


def test_rows_are_the_original_s_and_inputs_are_untouched():
    x, y = regression(300)
    before = x.clone(), y.clone()
    kept = compress_dataset(x, y, size=30)
    assert torch.equal(kept.inputs, x[kept.indices])
    assert torch.equal(kept.targets, y[kept.indices])
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert "30" in str(kept.report)


def test_class_counts_are_exact():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((500, 4, 2))).float()
    labels = torch.arange(500) % 7 % 3
    kept = compress_dataset(x, labels, size=60)
    assert kept.inputs.shape[1:] == (4, 2)
    assert len(kept) <= 60
    for label in range(3):
        counted = float(kept.multiplicities[kept.targets == label].sum())
        assert counted == pytest.approx(int((labels == label).sum()), rel=1e-12)
    assert any(note.startswith("class 2:") for note in kept.notes)


def test_the_sampler_draws_in_proportion_and_repeats_itself():
    x, y = regression(400)
    kept = compress_dataset(x, y, size=12)
    state = torch.get_rng_state()
    draws = torch.tensor(list(kept.sampler(20_000)))
    shares = torch.bincount(draws, minlength=12) / 20_000
    torch.testing.assert_close(
        shares.double(), kept.multiplicities / kept.multiplicities.sum(), rtol=0, atol=0.015
    )
    assert list(kept.sampler(50)) == list(kept.sampler(50))
    assert torch.equal(torch.get_rng_state(), state)
    inputs, targets, weights = next(iter(DataLoader(kept, batch_size=12)))
    assert (inputs.shape, targets.shape) == ((12, 2), (12, 1))
    assert float(weights.mean()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "y", "size", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(3), 2, "targets: expected a tensor of 4 rows"),
        (
            torch.zeros(4, 2),
            torch.tensor([0, 1, 2, 0]),
            2,
            "size: expected at least 3, one example per class",
        ),
        (
            torch.zeros(4, 2),
            torch.zeros(4, 2, dtype=torch.int64),
            2,
            r"targets: expected classes of shape \(n,\)",
        ),
        (torch.full((4, 2), torch.nan), torch.zeros(4), 2, "inputs: expected finite"),
        (torch.zeros(4, 2), torch.full((4,), torch.inf), 2, "targets: expected finite"),
        (torch.zeros(4, 2), torch.zeros(4), 5, "size: expected at most the 4 objects"),
    ],
)
def test_bad_data(x, y, size, message):
    with pytest.raises(ValueError, match=message):
        compress_dataset(x, y, size=size)
