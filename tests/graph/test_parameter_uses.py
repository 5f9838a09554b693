"""Who holds and who reads a parameter."""

import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.recorder import record
from tests.models import rows


def test_holders_and_readers_of_shared_and_unread_parameters():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    net[2].weight = net[0].weight
    lonely = nn.Parameter(torch.ones(2))
    net[1].register_parameter("lonely", lonely)
    uses = Uses(net, record(net, Call((rows(4, 3),))))
    assert [name for name, _ in uses.holders(net[0].weight)] == ["0", "2"]
    assert [operation.module for operation in uses.readers(net[0].weight)] == ["0", "2"]
    assert [name for name, _ in uses.holders(lonely)] == ["1"]
    assert uses.readers(lonely) == []
    assert uses.holders(torch.ones(2)) == []
