import copy

import pytest
import torch
from torch import nn

from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.slim.conversion import as_weighted
from jlab_compress.slim.operators import known_operator
from tests.models import mlp


def state(net):
    modules = [(type(m), sorted(vars(m)), getattr(m, "out_features", None)) for m in net.modules()]
    return modules, [(name, id(p)) for name, p in net.named_parameters()], list(net.named_buffers())


def test_what_replaces_tensors_attributes_and_classes_is_undone_as_often_as_wanted():
    net = mlp(6, 40, 3)
    before, snapshot = state(net), Snapshot.of(net)
    for _ in range(2):
        net[0].weight = nn.Parameter(net[0].weight[:5].detach())
        net[0].out_features = 5
        as_weighted(net[2], known_operator(net, "2"))
        net[2].input_multiplicities = torch.ones(5)
        net.plan = "a plan"
        assert state(net) != before
        snapshot.put_back()
        assert state(net) == before


def test_a_snapshot_copies_no_tensor_so_what_is_written_into_one_stays():
    net = mlp(6, 40, 3)
    snapshot = Snapshot.of(net)
    net[0].weight.data.zero_()
    snapshot.put_back()
    assert not net[0].weight.detach().any()


def test_other_memory_and_frozen_parameters_are_undone():
    net = mlp(6, 40, 3)
    net[2].bias.requires_grad_(False)
    snapshot, first = Snapshot.of(net), copy.deepcopy(net)
    for p in net.parameters():
        p.data = p.data + 1.0
        p.requires_grad_(not p.requires_grad)
    snapshot.put_back()
    for p, before in zip(net.parameters(), first.parameters(), strict=True):
        assert torch.equal(p, before)
        assert p.requires_grad == before.requires_grad


@pytest.mark.parametrize("second", [True, False])
def test_two_states_of_one_model_can_take_turns(second):
    net = mlp(6, 40, 3)
    first, x = copy.deepcopy(net), torch.randn(5, 6).double()
    one = Snapshot.of(net)
    net[2].weight = nn.Parameter(2 * net[2].weight.detach())
    other, doubled = Snapshot.of(net), copy.deepcopy(net)
    one.put_back()
    (other if second else one).put_back()
    assert torch.equal(net(x), (doubled if second else first)(x))
