"""Ways from the units of one layer to another layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.execution.calls import Call
from jlab_compress.graph.paths import candidates
from jlab_compress.graph.recorder import record
from tests.models import rows, seeded


def found(model, x):
    trace = record(seeded(lambda: model).double().eval(), Call((x,)))
    return [
        (
            [trace.operations[s].module for s in c.sources],
            trace.operations[c.sink].module,
            c.path,
        )
        for c in candidates(trace)
    ]


class Written(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._run = forward

    def forward(self, x):
        return self._run(self, x)


def test_each_layer_hands_its_units_to_the_next():
    ways = found(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 2)), rows(2, 3))
    assert [(makers, reader, path.size, path.problem) for makers, reader, path in ways] == [
        (["0"], "2", 5, None),
        (["2"], "3", 4, None),
    ]
    assert [len(path.steps) for *_, path in ways] == [1, 0]


def test_two_layers_that_read_the_same_make_units_together():
    parts = {"a": nn.Linear(3, 5), "b": nn.Linear(3, 5), "c": nn.Linear(5, 2)}
    (way,) = found(Written(lambda m, x: m.c(m.a(x) * m.b(x)), **parts), rows(2, 3))
    assert (way[0], way[1], way[2].problem) == (["a", "b"], "c", None)


CONV = nn.Conv2d
LAYERS = {
    "norm": (nn.BatchNorm2d(4), {"norm": True, "chain": 0, "repeat": 1}),
    "norm after": (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)), {"norm": False, "chain": 1, "repeat": 1}),
    "two norms": (
        nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        {"norm": False, "chain": 2, "repeat": 1},
    ),
    "depthwise": (CONV(4, 8, 1, groups=4), {"norm": False, "chain": 1, "repeat": 2}),
    "pool": (nn.MaxPool2d(2), {"norm": False, "chain": 0, "repeat": 1}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_stands_between_channels_and_their_reader(name):
    layer, expected = LAYERS[name]
    width = 8 if name == "depthwise" else 4
    *_, (makers, reader, path) = found(
        nn.Sequential(CONV(2, 4, 1), layer, CONV(width, 3, 1)), rows(2, 2, 4, 4)
    )
    assert (makers, reader, path.problem, path.axis) == (["0"], "2", None, 1)
    got = {"norm": path.norm is not None, "chain": len(path.chain), "repeat": path.repeat}
    assert got == expected


def test_flattened_channels_have_an_entry_for_each_position():
    net = nn.Sequential(CONV(2, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    ((_, reader, path),) = found(net, rows(2, 2, 3, 3))
    assert (reader, path.repeat, path.size, path.axis) == ("3", 9, 36, -1)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda m, x: m.c(m.a(x) + x), "residual stream"),
        (lambda m, x: m.c(torch.cat([m.a(x)[:, :2], m.a(x)[:, :1]], 1)), "cut into parts or joined"),
        (lambda m, x: m.c(m.a(x).detach()), "cuts its gradient"),
        (lambda m, x: m.c(m.a(x) * x.sum(-1, keepdim=True)), "combines its hidden units with values"),
        (lambda m, x: m.c(m.a(x) * m.s), "one parameter for each hidden unit"),
        (lambda m, x: m.c(m.a(x) + m.b(m.a(x))), "reads something else|residual stream"),
    ],
)
def test_what_couples_units_is_the_problem_of_a_way(run, words):
    parts = {
        "a": nn.Linear(3, 3),
        "b": nn.Linear(3, 3),
        "c": nn.Linear(3, 2),
        "s": nn.Parameter(torch.ones(3)),
    }
    problems = [path.problem or "" for *_, path in found(Written(run, **parts), rows(2, 3))]
    assert any(word in problem for word in words.split("|") for problem in problems), problems


def test_layers_of_other_kinds_end_a_way():
    net = Written(lambda m, x: m.r(F.relu(m.a(x)))[0], a=nn.Linear(3, 5), r=nn.GRU(5, 4))
    ((_, reader, path),) = found(net, rows(2, 3))
    assert (reader, "read by `gru`" in path.problem) == ("r", True)
