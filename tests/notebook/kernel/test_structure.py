"""Size and shape are read off parameters; the key of a shape follows what changes how blocks lie."""

import pytest
import torch
from torch import nn

from jlab_compress.graph.costs import count_bytes
from jlab_compress.notebook.kernel.structure import read_structure, shape_key


def small():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))


def test_what_is_counted():
    net = small().half().eval()
    found = read_structure(net, 0)
    assert (found.parameters, found.bytes, found.modules) == (226, 452, 4)
    assert (found.devices, found.dtypes) == ({torch.device("cpu")}, {torch.float16})
    assert not found.training
    assert not found.large


def test_shared_parameters_count_once_and_lazy_ones_not_yet():
    shared = nn.Linear(3, 3)
    assert read_structure(nn.Sequential(shared, shared), 0).parameters == 12
    lazy = read_structure(nn.Sequential(nn.LazyLinear(3), shared), 0)
    assert (lazy.parameters, lazy.lazy) == (12, True)


@pytest.mark.parametrize("parts", [150, 151])
def test_many_modules_make_a_model_large(parts):
    net = nn.Sequential(*(nn.ReLU() for _ in range(parts - 1)))
    assert read_structure(net, 0).large == (parts > 150)


@pytest.mark.parametrize("numbers", [50_000_000, 50_000_001])
def test_many_bytes_make_a_model_large(numbers):
    net = nn.Linear(numbers, 1, bias=False, device="meta")
    assert read_structure(net, 0).large == (4 * numbers > 200_000_000)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.eval(),
        lambda net: net.half(),
        lambda net: net.append(nn.ReLU()),
        lambda net: net.__setitem__(1, nn.Tanh()),
        lambda net: net.__setitem__(2, nn.Linear(32, 3)),
        lambda net: net.to("meta"),
    ],
)
def test_the_key_follows_the_shape(change):
    net = small()
    before = shape_key(net)
    change(net)
    assert shape_key(net) != before


def test_the_key_does_not_follow_the_weights():
    net = small()
    before = shape_key(net)
    with torch.no_grad():
        net[0].weight.zero_()
    assert shape_key(net) == before


def test_bytes_are_those_of_buffers_too_as_a_report_counts_them():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    net.append(net[1])
    expected = 4 * (40 + 16 + 18) + 4 * (8 + 8) + 8
    assert read_structure(net, 0).bytes == count_bytes(net) == expected
    assert read_structure(nn.LazyBatchNorm1d(), 0).bytes == 8
