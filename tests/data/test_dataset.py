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


@pytest.mark.parametrize("degree", [None, 1])
@pytest.mark.parametrize("classes", [False, True])
def test_fewer_distinct_examples_than_the_size_all_come_back_with_their_counts(classes, degree):
    x, y = regression(5)
    y = torch.arange(5) % 2 if classes else y
    times = torch.tensor([1, 3, 2, 5, 1])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(5).repeat_interleave(times)[order]
    kept = compress_dataset(x[rows], y[rows], size=12, degree=degree)
    counted = {
        tuple(point.tolist()): float(c) for point, c in zip(kept.inputs, kept.multiplicities, strict=True)
    }
    assert counted == {tuple(point.tolist()): float(n) for point, n in zip(x, times, strict=True)}
    assert (len(kept), kept.residual) == (5, 0.0)
    assert kept.indices.tolist() == sorted({rows.tolist().index(i) for i in range(5)})
    assert all("all distinct examples (" in note for note in kept.notes)


def test_no_example_is_kept_twice():
    x, y = regression(30)
    kept = compress_dataset(x.repeat(20, 1), y.repeat(20, 1), size=25, degree=1)
    assert len(torch.unique(kept.inputs, dim=0)) == len(kept) <= 25
    torch.testing.assert_close(kept.multiplicities @ kept.inputs, 20 * x.sum(0))


def test_equal_inputs_of_two_classes_are_two_examples():
    x = torch.zeros(6, 2)
    kept = compress_dataset(x, torch.tensor([0, 1, 1, 0, 1, 1]), size=6)
    assert kept.targets.tolist() == [0, 1]
    assert kept.multiplicities.tolist() == [2.0, 4.0]


def test_a_class_without_weight_is_left_out_with_a_note():
    x, _ = regression(60)
    labels = torch.arange(60) % 3
    weights = torch.where(labels == 1, 0.0, 2.0)
    kept = compress_dataset(x, labels, size=12, multiplicities=weights)
    assert set(kept.targets.tolist()) == {0, 2}
    assert kept.notes[-1] == "class 1: all its multiplicities are zero, so nothing of it is kept"
    for label in (0, 2):
        assert float(kept.multiplicities[kept.targets == label].sum()) == pytest.approx(40.0)
    assert compress_dataset(x, labels, size=2, multiplicities=weights).targets.tolist() in ([0, 2], [2, 0])


def test_inputs_that_carry_a_graph_give_the_same_rows_without_one():
    x, y = regression(100)
    plain = compress_dataset(x, y, size=10)
    kept = compress_dataset(
        (x * 1.0).requires_grad_(), y, size=10, multiplicities=torch.ones(100).requires_grad_()
    )
    assert torch.equal(kept.multiplicities, plain.multiplicities)
    assert torch.equal(kept.inputs, plain.inputs)
    assert not kept.inputs.requires_grad


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.zeros(4), ValueError, "multiplicities: all are zero"),
        (torch.tensor([1.0, -1.0, 1.0, 1.0]), ValueError, "multiplicities: expected values >= 0, got -1"),
        (torch.tensor([1.0, torch.nan, 1.0, 1.0]), ValueError, "multiplicities: expected finite values"),
        (torch.ones(3), ValueError, r"multiplicities: expected shape \(4,\), got \(3,\)"),
        ([1.0] * 4, TypeError, "multiplicities: expected a torch tensor, got list"),
    ],
)
@pytest.mark.parametrize("y", [torch.zeros(4), torch.tensor([0, 1, 0, 1])])
def test_bad_multiplicities(weights, error, message, y):
    with pytest.raises(error, match=message):
        compress_dataset(torch.zeros(4, 2), y, size=2, multiplicities=weights)


@pytest.mark.parametrize("size", [2.0, 4.5, True, "3"])
def test_a_size_is_a_whole_number(size):
    with pytest.raises(TypeError, match=f"size: expected a whole number, got {size!r}"):
        compress_dataset(torch.zeros(8, 2), torch.tensor([0, 1] * 4), size=size)


def test_complex_targets_are_refused():
    with pytest.raises(TypeError, match=r"targets: expected numbers or classes, got torch\.complex64"):
        compress_dataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.complex64), size=2)


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
        (torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), 5, "size: expected at most the 4 objects"),
        (torch.zeros(4, 2), torch.tensor(0.0), 2, r"targets: expected a tensor of 4 rows .* got \(\)"),
        (torch.zeros(4, 2), [0.0] * 4, 2, "targets: expected a tensor of 4 rows .* got list"),
        (torch.zeros(0, 2), torch.zeros(0), 2, r"inputs: expected shape \(n, m\), .* got \(0, 2\)"),
        (torch.zeros(0), torch.zeros(0).long(), 2, r"inputs: expected shape \(n, m\), .* got \(0, 1\)"),
    ],
)
def test_bad_data(x, y, size, message):
    with pytest.raises(ValueError, match=message):
        compress_dataset(x, y, size=size)
