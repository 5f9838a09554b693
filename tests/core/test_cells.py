import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from jlab_compress.core.cells import cut_cells, kmeans


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 16])
def test_cells_share_out_the_objects_evenly(wanted):
    cells = cut_cells(normal(160, 3), torch.ones(160), wanted)
    assert torch.cat(cells).sort().values.tolist() == list(range(160))
    assert len(cells) == wanted
    assert max(map(len, cells)) - min(map(len, cells)) <= wanted


def test_cells_share_out_the_mass_not_the_number():
    points = torch.arange(100.0)[:, None]
    counts = torch.ones(100)
    counts[:10] = 9.0
    low, high = sorted(cut_cells(points, counts, 2), key=lambda cell: int(cell.min()))
    assert (len(low), len(high)) == (10, 90)


def test_the_scale_of_a_coordinate_does_not_matter_but_its_values_do():
    points = normal(100, 2)

    def cells(values):
        return {tuple(cell.tolist()) for cell in cut_cells(values, torch.ones(100), 8)}

    assert cells(points) == cells(points * torch.tensor([1024.0, 0.5]))
    assert cells(points) != cells(points**3)


def test_copies_are_never_torn_into_more_cells_than_can_be_told_apart():
    assert len(cut_cells(torch.zeros(20, 2), torch.ones(20), 8)) == 1
    two = torch.cat([torch.zeros(10, 1), torch.ones(10, 1)])
    assert len(cut_cells(two, torch.ones(20), 8)) == 2


@pytest.mark.parametrize(("n", "m", "size"), [(100, 2, 10), (500, 9, 64), (300, 4, 290), (40, 30, 1)])
def test_means_and_labels_are_bit_for_bit_those_of_scipy(n, m, size):
    rows = normal(n, m)
    first = rows[torch.randperm(n, generator=torch.Generator().manual_seed(1))[:size]]
    centres, labels = kmeans(rows, first, rounds=20)
    theirs, their_labels = kmeans2(rows.numpy(), first.numpy(), iter=20, minit="matrix", missing="warn")
    assert np.array_equal(centres, theirs)
    assert np.array_equal(labels, their_labels)
    one_round, _ = kmeans(rows, first, rounds=1)
    assert size in (1, 290) or not np.array_equal(one_round, theirs)


def test_counts_mean_repetition():
    rows, repeats = normal(60, 3), torch.arange(60) % 4
    centres, labels = kmeans(rows, rows[[1, 2, 3]], rounds=30, counts=repeats.double())
    repeated, their_labels = kmeans(rows.repeat_interleave(repeats, 0), rows[[1, 2, 3]], rounds=30)
    torch.testing.assert_close(centres, repeated)
    assert torch.equal(labels.repeat_interleave(repeats), their_labels)
    assert not torch.allclose(centres, kmeans(rows, rows[[1, 2, 3]], rounds=30)[0], atol=1e-3)


def test_a_centre_without_mass_stays_and_the_start_is_untouched():
    rows, start = torch.zeros(5, 2).double(), torch.tensor([[0.1, 0.0], [9.0, 9.0]]).double()
    before = start.clone()
    centres, labels = kmeans(rows, start, rounds=4)
    assert centres.tolist() == [[0.0, 0.0], [9.0, 9.0]]
    assert labels.tolist() == [0] * 5
    assert torch.equal(start, before)


def test_each_round_lowers_the_squared_distances():
    rows = normal(400, 3)

    def spread(rounds):
        centres, labels = kmeans(rows, rows[:12], rounds=rounds)
        return float((rows - centres[labels]).square().sum())

    values = [spread(rounds) for rounds in range(1, 8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]
