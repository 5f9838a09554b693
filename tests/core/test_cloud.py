import pytest
import torch

from jlab_compress.core.cloud import Cloud, check_multiplicities, check_points, merge_clouds, merge_copies


def test_a_cloud_knows_its_sizes():
    cloud = Cloud(torch.zeros(3, 2), torch.tensor([1.0, 2.0, 1.0]))
    assert (cloud.size, cloud.dimension, cloud.total, cloud.spread) == (3, 2, 4.0, 0.75)


def test_the_report_tells_what_is_known_only():
    plain = Cloud(torch.zeros(3, 2), torch.ones(3)).report
    assert "degree" not in plain.facts
    reduced = Cloud(torch.zeros(3, 2), torch.ones(3), degree=2, cells=1, residual=0.0, notes=("kept",)).report
    assert (reduced.facts["degree"], reduced.facts["residual"]) == (2, 0.0)
    assert reduced.notes == ("kept",)
    assert reduced.summary == "3 objects in dimension 2."


def test_moments_of_a_union_are_sums():
    one = Cloud(torch.rand(4, 2), torch.rand(4) + 0.1)
    other = Cloud(torch.rand(3, 2), torch.rand(3) + 0.1)
    union = merge_clouds(one, other)
    sums = [c.multiplicities @ c.points**2 for c in (one, other, union)]
    torch.testing.assert_close(sums[0] + sums[1], sums[2])
    assert union.total == pytest.approx(one.total + other.total)
    assert union.indices is None


def test_clouds_that_do_not_fit_together_are_not_merged():
    line, plane = Cloud(torch.zeros(1, 1), torch.ones(1)), Cloud(torch.zeros(1, 2), torch.ones(1))
    with pytest.raises(ValueError, match="the clouds differ"):
        merge_clouds(line, plane)
    double = Cloud(torch.zeros(1, 1).double(), torch.ones(1).double())
    with pytest.raises(ValueError, match="the clouds differ"):
        merge_clouds(line, double)
    with pytest.raises(ValueError, match="no cloud was given"):
        merge_clouds()


@pytest.mark.parametrize(
    ("points", "kind", "message"),
    [
        ([[1.0]], TypeError, "points: expected a torch tensor, got list"),
        (torch.zeros(3), ValueError, r"points: expected shape \(n, m\)"),
        (torch.zeros(3, 0), ValueError, r"points: expected shape \(n, m\)"),
        (torch.zeros(3, 2).half(), TypeError, "points: expected float32 or float64"),
        (torch.full((3, 2), torch.nan), ValueError, "points: expected finite"),
    ],
)
def test_points_that_are_none_are_refused(points, kind, message):
    with pytest.raises(kind, match=message):
        check_points(points)


@pytest.mark.parametrize(
    ("counts", "zeros", "message"),
    [
        (torch.ones(2), False, r"multiplicities: expected shape \(3,\)"),
        (torch.ones(3).double(), False, "expected torch.float32 on cpu"),
        (torch.tensor([1.0, torch.inf, 1.0]), False, "multiplicities: expected finite"),
        (torch.tensor([1.0, 0.0, 1.0]), False, "multiplicities: expected values > 0"),
        (torch.tensor([1.0, -1.0, 1.0]), True, "multiplicities: expected values >= 0"),
        (torch.zeros(3), True, "all are zero"),
    ],
)
def test_multiplicities_that_do_not_belong_are_refused(counts, zeros, message):
    with pytest.raises(ValueError, match=message):
        check_multiplicities(counts, torch.zeros(3, 2), zeros=zeros)


def test_zeros_pass_where_they_are_allowed():
    check_multiplicities(torch.tensor([1.0, 0.0, 1.0]), torch.zeros(3, 2), zeros=True)


def test_copies_are_counted_at_the_place_of_the_first():
    points = torch.tensor([[1.0, 2.0], [0.0, -0.0], [1.0, 2.0], [-0.0, 0.0], [1.0, 3.0]])
    first, counts = merge_copies(points, torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert (first.tolist(), counts.tolist()) == ([0, 1, 4], [5.0, 10.0, 16.0])
