"""Parameters at one moment: equal clouds and kernels for copies, others for a broken slim model."""

import sys

import pytest

from jlab_compress.execution.isolation import copy_model
from jlab_compress.validation.measures.snapshot import take_snapshot


def models(make_pair, *, broken=False):
    wide, slim = make_pair()
    if broken:
        slim = copy_model(slim)
        slim[0].output_multiplicities.fill_(1.0)
    return {"original": wide, "slim": slim, "random subset": slim, "another batch order": wide}


def test_copies_are_where_the_original_is(make_pair, batches):
    found = take_snapshot(models(make_pair), batches[0][0])
    assert found.distances["0"].exact == pytest.approx(0.0, abs=1e-7)
    assert set(found.kernels) == {"slim", "random subset"}
    assert found.kernels["slim"].error < 1e-12
    wide, narrow = found.clouds["0"]
    assert (len(wide.points), len(narrow.points)) == (16, 5)


def test_a_slim_model_without_its_multiplicities_is_elsewhere(make_pair, batches):
    found = take_snapshot(models(make_pair, broken=True), batches[0][0])
    assert found.kernels["slim"].error > 0.05


def test_without_the_package_there_are_clouds_and_no_distances(make_pair, batches, monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    found = take_snapshot(models(make_pair), batches[0][0])
    assert (set(found.clouds), found.distances) == ({"0"}, {})
