"""Optimal transport between neuron clouds: known distances, laws, two algorithms, gauges."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.plain import plain_gauge
from jlab_compress.core.cloud import Cloud
from jlab_compress.execution.isolation import copy_model
from jlab_compress.slim.conversion import attach_plan, plan_of
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.surgery import write_layer
from jlab_compress.validation.measures.transport import cloud_distance, neuron_clouds
from tests.models import seeded
from tests.slim.saved.models import Attending, depthwise, inputs


def draw(seed, size, dimension=3):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(size, dimension, generator=generator, dtype=torch.float64)
    return Cloud(points, 0.5 + torch.rand(size, generator=generator, dtype=torch.float64))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 200), st.floats(-3, 3))
def test_a_shift_is_as_far_as_it_is_long(seed, shift):
    cloud = draw(seed, 12)
    mean = (cloud.multiplicities @ cloud.points) / cloud.total
    spread = ((cloud.multiplicities @ (cloud.points - mean).square().sum(1)) / cloud.total).sqrt()
    moved = replace(cloud, points=cloud.points + shift / 3**0.5)
    assert cloud_distance(cloud, moved).exact == pytest.approx(abs(shift) / float(spread), abs=1e-6)


def test_a_copy_counted_twice_is_a_multiplicity_of_two():
    cloud = draw(0, 6)
    twice = Cloud(cloud.points.repeat(2, 1), torch.cat([cloud.multiplicities] * 2))
    doubled = replace(cloud, multiplicities=2 * cloud.multiplicities)
    assert cloud_distance(twice, doubled).exact == pytest.approx(0.0, abs=1e-7)
    other = replace(cloud, multiplicities=cloud.multiplicities.flip(0))
    assert cloud_distance(twice, other).exact > 0.05


def test_the_centre_is_one_spread_away():
    cloud = draw(3, 20)
    mean = (cloud.multiplicities @ cloud.points / cloud.total)[None]
    centre = Cloud(mean, torch.ones(1, dtype=torch.float64))
    assert cloud_distance(cloud, centre).exact == pytest.approx(1.0, rel=1e-9)
    assert cloud_distance(cloud, centre).sinkhorn == pytest.approx(1.0, rel=1e-6)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 50))
def test_sinkhorn_is_never_below_exact_and_comes_near_it(seed):
    first, second = draw(seed, 15), draw(seed + 1, 9)
    rough, fine = (cloud_distance(first, second, smoothing=s) for s in (0.5, 0.01))
    assert rough.sinkhorn >= rough.exact - 1e-6
    assert fine.sinkhorn == pytest.approx(fine.exact, rel=0.05)
    assert fine.sinkhorn <= rough.sinkhorn + 1e-6


def test_large_clouds_are_compared_by_sinkhorn_only(monkeypatch):
    monkeypatch.setattr("jlab_compress.validation.measures.transport.MOST_COSTS", 100)
    assert cloud_distance(draw(0, 20), draw(1, 6)).exact is None
    assert cloud_distance(draw(0, 10), draw(1, 6)).exact is not None


def test_neurons_that_are_copies_make_clouds_without_distance(make_pair):
    wide, slim = make_pair()
    assert cloud_distance(*neuron_clouds(wide, slim)["0"]).exact == pytest.approx(0.0, abs=1e-7)
    slim[0].output_multiplicities[0] = 30.0
    assert cloud_distance(*neuron_clouds(wide, slim)["0"]).exact > 0.1


def test_the_plain_gauge_is_undone(make_pair):
    wide, slim = make_pair()
    plain = copy_model(slim)
    counts = slim[2].input_multiplicities
    block = replace(plan_of(slim).blocks[0], gauge="plain", multiplicities=tuple(counts.tolist()))
    layer = replace(read_layer(slim, block, torch.relu), multiplicities=counts)
    write_layer(plain, block, plain_gauge(layer))
    attach_plan(plain, Plan((block,)))
    assert cloud_distance(*neuron_clouds(wide, plain)["0"]).exact == pytest.approx(0.0, abs=1e-7)
    attach_plan(plain, Plan((replace(block, multiplicities=None),)))
    assert cloud_distance(*neuron_clouds(wide, plain)["0"]).exact > 0.1


def test_dimensions_must_agree():
    with pytest.raises(ValueError, match="expected points of dimension 3 like the first cloud's, got 4"):
        cloud_distance(draw(0, 5), draw(0, 5, 4))


def test_the_first_use_draws_no_random_numbers():
    lines = [
        "import random, sys, torch",
        "from jlab_compress.core.cloud import Cloud",
        "from jlab_compress.validation.measures.transport import cloud_distance",
        "assert 'ot' not in sys.modules",
        "before = random.getstate()",
        "cloud_distance(*[Cloud(torch.eye(3).double(), torch.ones(3).double())] * 2)",
        "assert 'ot' in sys.modules and random.getstate() == before",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_without_its_package_the_line_to_type_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r'ot is needed for .*: pip install "jlab-compress\[validation\]"'):
        cloud_distance(draw(0, 5), draw(1, 5))


def test_heads_and_channels_behind_depthwise_convolutions_are_clouds_too():
    heads = Attending, inputs("heads"), "attention", 2
    for build, x, name, width in (heads, (depthwise, inputs("depthwise"), "0", 4)):
        wide = seeded(build).double().eval()
        slim = compress_baseline(wide, {name: width}, calibration=x, method="random").model
        whole, few = neuron_clouds(wide, slim)[name]
        assert (whole.size, few.size) == (2 * width, width)
        assert few.multiplicities.tolist() == [2.0] * width
        assert whole.total == few.total
