"""Which norm reads the residual stream behind a block."""

import pytest
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.graph.recorder import record
from jlab_compress.graph.residual import Residual, residual_of
from tests.models import rows, seeded


class Writing(nn.Module):
    def __init__(self, behind):
        super().__init__()
        self.down, self.norm, self.head = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)
        self.behind = behind

    def forward(self, x):
        return self.behind(self, x, self.down(x))


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (lambda m, x, y: m.head(m.norm(x + y)), Residual("norm", True)),
        (lambda m, x, y: m.head(m.norm(y.clone().view(-1, 4) + x)), Residual("norm", True)),
        (lambda m, x, y: (z := x + y) + m.norm(z), Residual("norm", False)),
        (lambda m, x, y: m.head(x + y), None),
        (lambda m, x, y: m.head(m.norm(y)), None),
        (lambda m, x, y: m.norm(x + y.tanh()), None),
        (lambda m, x, y: (m.norm(x + y), y), Residual("norm", True)),
    ],
)
def test_the_norm_behind_the_sum(behind, expected):
    model = seeded(Writing, behind).double()
    trace = record(model, Call((rows(3, 4),)))
    output = next(o.outputs[0] for o in trace.operations if o.module == "down")
    assert residual_of(model, trace, output) == expected
