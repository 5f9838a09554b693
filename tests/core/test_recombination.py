import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jlab_compress import RecombinationError, recombine
from jlab_compress.core.features import table_features
from jlab_compress.core.recombination import reduce_features
from jlab_compress.core.sizing import SizeTarget


def with_constant(features):
    return np.hstack([np.ones((len(features), 1)), features])


def slow_caratheodory(features, counts):
    """The proof of the theorem: one null vector and one zero at a time, by singular vectors.

    Returns multiplicities with the sums of `features` (n, N), at most as many of them positive as its rank.
    """
    counts = counts.copy()
    while True:
        alive = np.flatnonzero(counts)
        rows = features[alive]
        rank = np.linalg.matrix_rank(rows)
        if len(alive) <= rank:
            return counts
        null = np.linalg.svd(rows.T)[2][-1]
        null = null if null.max() > 0 else -null
        steps = np.full(len(alive), np.inf)
        np.divide(counts[alive], null, out=steps, where=null > 1e-12)
        first = steps.argmin()
        counts[alive] = np.maximum(counts[alive] - steps[first] * null, 0.0)
        counts[alive[first]] = 0.0


def moment_error(features, counts, other):
    """The largest difference of the sums over the sum of absolute values."""
    scale = np.abs(features).T @ counts
    return float((np.abs(features.T @ (other - counts)) / np.where(scale > 0, scale, 1)).max())


def spread_out(kept, n):
    counts = np.zeros(n)
    counts[kept.indices.numpy()] = kept.multiplicities.numpy()
    return counts


def tables(most_rows=60, most_functions=5):
    numbers = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), st.floats(-1, 1).map(lambda x: round(x, 3)))
    return st.integers(1, most_functions).flatmap(
        lambda width: st.integers(1, most_rows).flatmap(
            lambda n: st.tuples(
                arrays(float, (n, width), elements=numbers),
                arrays(float, n, elements=st.sampled_from([0.25, 1.0, 2.0, 3.5])),
            )
        )
    )


@settings(max_examples=100, deadline=None)
@given(tables())
def test_the_theorem_holds_as_its_slow_proof_says(drawn):
    """Ties, copies and dependent columns come up often, as entries are drawn from few numbers."""
    features, counts = drawn
    full, n = with_constant(features), len(features)
    kept = recombine(torch.from_numpy(features), torch.from_numpy(counts))
    ours, slow = spread_out(kept, n), slow_caratheodory(full, counts)
    rank = np.linalg.matrix_rank(full)
    assert kept.multiplicities.min() > 0
    assert kept.rank == rank
    assert len(kept.indices) <= rank
    assert np.count_nonzero(slow) <= rank
    assert kept.residual <= 1e-13
    assert moment_error(full, counts, ours) <= 1e-12
    assert moment_error(full, counts, slow) <= 1e-10
    assert full.T @ ours == pytest.approx(full.T @ slow, rel=1e-9, abs=1e-9 * counts.sum())


def test_the_comparison_sees_one_changed_multiplicity():
    rng = np.random.default_rng(0)
    features, counts = rng.standard_normal((40, 3)), np.ones(40)
    full = with_constant(features)
    ours = spread_out(recombine(torch.from_numpy(features)), 40)
    assert moment_error(full, counts, ours) <= 1e-12
    ours[ours.argmax()] *= 1 + 1e-9
    assert moment_error(full, counts, ours) > 1e-11


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), distinct=st.integers(1, 6), copies=st.integers(1, 30))
def test_independent_rows_that_repeat_collapse_to_their_exact_counts(seed, distinct, copies):
    """The only multiplicities with the same sums: the known answer."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((distinct, 6))
    order = rng.permutation(np.repeat(np.arange(distinct), copies))
    counts = rng.uniform(0.5, 2, len(order))
    kept = recombine(torch.from_numpy(rows[order]), torch.from_numpy(counts))
    totals = np.bincount(order, weights=counts, minlength=distinct)
    found = np.zeros(distinct)
    found[order[kept.indices.numpy()]] = kept.multiplicities.numpy()
    assert found == pytest.approx(totals, rel=1e-11)
    assert len(kept.indices) == distinct


@pytest.mark.parametrize(("n", "functions"), [(1, 3), (5, 9), (10, 9), (11, 9), (500, 9), (30_000, 40)])
def test_sums_and_total_are_kept_by_few_positive_multiplicities(n, functions):
    features = torch.from_numpy(np.random.default_rng(n).standard_normal((n, functions)))
    counts = torch.from_numpy(np.random.default_rng(1).random(n) + 0.1)
    before = features.clone(), counts.clone()
    kept = recombine(features, counts)
    full = with_constant(features.numpy())
    assert moment_error(full, counts.numpy(), spread_out(kept, n)) <= 1e-13
    assert kept.residual <= 1e-13
    assert bool((kept.multiplicities > 0).all())
    assert len(kept.indices) <= kept.rank <= min(n, functions + 1)
    assert torch.equal(features, before[0])
    assert torch.equal(counts, before[1])


def test_scaling_a_column_or_all_multiplicities_changes_nothing_but_the_scale():
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((300, 4)))
    one = recombine(features)
    doubled = recombine(features * torch.tensor([1.0, 8.0, 1.0, 0.5]), torch.full((300,), 2.0).double())
    assert torch.equal(one.indices, doubled.indices)
    torch.testing.assert_close(doubled.multiplicities, 2 * one.multiplicities, rtol=1e-9, atol=0)


def test_rows_that_do_not_count_are_never_kept():
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((100, 3)))
    counts = torch.ones(100).double()
    counts[::2] = 0.0
    assert bool((recombine(features, counts).indices % 2 == 1).all())


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_rows():
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((5000, 4)))
    one, same, other = (recombine(features, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.indices, same.indices)
    assert torch.equal(one.multiplicities, same.multiplicities)
    assert not torch.equal(one.indices, other.indices)


def test_beyond_the_exact_functions_others_are_met_nearly():
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.uniform(-1, 1, (2000, 19)))
    target = SizeTarget(size=12, exact=4, importance=np.ones(16))
    kept = reduce_features(table_features(table), torch.ones(2000).double(), target=target)
    plain = reduce_features(table_features(table[:, :3]), torch.ones(2000).double())
    full, n = with_constant(table.numpy()), 2000

    def errors(found):
        return np.abs(full.T @ spread_out(found, n) - full.sum(0)) / np.abs(full).sum(0)

    assert len(kept.indices) == 12
    assert errors(kept)[:4].max() <= 1e-13
    assert errors(plain)[:4].max() <= 1e-13
    assert np.square(errors(kept)[4:]).mean() < 0.1 * np.square(errors(plain)[4:]).mean()


def test_a_residual_above_the_tolerance_is_an_error_that_tells_it():
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 5)))
    with pytest.raises(RecombinationError, match="of 200 objects misses a moment by") as error:
        recombine(features, tolerance=0.0)
    assert 0 < error.value.residual < 1e-13


@pytest.mark.parametrize(
    ("features", "counts", "kind", "message"),
    [
        (torch.zeros(3), None, ValueError, r"features: expected shape \(n, m\)"),
        (torch.zeros(3, 2, dtype=torch.int64), None, TypeError, "features: expected float32 or float64"),
        (torch.full((3, 2), torch.inf), None, ValueError, "features: expected finite"),
        (torch.zeros(3, 2), -torch.ones(3), ValueError, "multiplicities: expected values >= 0"),
    ],
)
def test_bad_arguments_are_refused(features, counts, kind, message):
    with pytest.raises(kind, match=message):
        recombine(features, counts)
