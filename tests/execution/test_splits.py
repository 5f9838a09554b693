import inspect

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.execution.calls import Call
from jlab_compress.execution.splits import first_rows, hold_out, portions, told_apart
from tests.models import mlp, rows
from tests.quick import FAST

X = rows(6, 3)


def test_rows_are_split_without_loss_and_reproducibly():
    calls = [Call((rows(50, 3),)), Call((rows(2, 3, seed=1),))]
    (kept, apart), (again, _) = hold_out(calls, 0.1, 0), hold_out(calls, 0.1, 0)
    assert [c.rows for c in kept] == [45, 2]
    assert [c.rows for c in apart] == [5]
    assert torch.equal(kept[0].args[0], again[0].args[0])
    together = torch.cat([kept[0].args[0], apart[0].args[0]])
    assert torch.equal(together.sort(0).values, calls[0].args[0].sort(0).values)
    assert not torch.equal(hold_out(calls, 0.1, 1)[0][0].args[0], kept[0].args[0])


def test_calls_whose_tensors_disagree_about_rows_stay_whole():
    odd = Call((rows(6, 3), rows(4)))
    kept, apart = hold_out([odd] * 5, 0.2, 0)
    assert (kept, apart) == ([odd] * 4, [odd])
    assert first_rows(odd, 2) is odd
    assert first_rows(Call((X,)), 2).rows == 2


def test_portions_hold_all_rows_in_order():
    call = Call((X,), {"scale": X[:, 0]})
    parts = portions(call, 4)
    assert [part.rows for part in parts] == [4, 2]
    assert torch.equal(torch.cat([part.args[0] for part in parts]), X)
    assert torch.equal(torch.cat([part.kwargs["scale"] for part in parts]), X[:, 0])
    whole = Call((X, rows(4)))
    assert portions(whole, 4) == [whole]


class Rowwise(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class Flattened(nn.Module):
    """Each row has several entries of the output, on end."""

    def forward(self, x):
        return x.flatten()


class Added(nn.Module):
    def forward(self, x, y):
        return x + y


class Classes(nn.Module):
    """As many classes as rows: a table that every row is compared with."""

    def forward(self, x, table):
        return x @ table.T


class Graph(nn.Module):
    """Two layers: each node depends on its neighbours' neighbours."""

    def forward(self, x, adjacency):
        return adjacency @ torch.relu(adjacency @ x)


class Subgraph(nn.Module):
    """It runs on a few nodes too, without their neighbours; rows are those of the adjacency alone."""

    def forward(self, x, adjacency):
        return adjacency[: len(x), : len(x)] @ x


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


class Scaled(nn.Module):
    def forward(self, x, factor):
        return x * factor


class Loss(nn.Module):
    def forward(self, x):
        return x.square().mean()


class WithLoss(nn.Module):
    def forward(self, x):
        return {"loss": x.square().mean(), "scores": 2 * x}


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


A = rows(12, 4)
SQUARE = (rows(12, 12) > 0).double()
ALL = frozenset({0, 1})
FORMS = [
    (Rowwise(), (A,), frozenset()),
    (Flattened(), (A,), frozenset()),
    (Added(), (A, rows(12, 4, seed=1)), frozenset()),
    (Classes(), (A, rows(12, 4, seed=1)), frozenset({1})),
    (Graph(), (A, SQUARE), ALL),
    (Subgraph(), (A, SQUARE), frozenset({0})),
    (Centred(), (A,), frozenset({0})),
    (Scaled(), (A, torch.tensor(2.0)), frozenset({1})),
    (Scaled(), (A, rows(4)), frozenset({1})),
    (Loss(), (A,), frozenset()),
    (WithLoss(), (A,), frozenset()),
    (Noisy(), (A,), frozenset()),
    (Rowwise(), (A[:1],), frozenset()),
]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("model", "given", "whole"), FORMS, ids=[type(row[0]).__name__ for row in FORMS])
def test_which_tensors_have_rows_is_told_by_the_outputs(model, given, whole, named):
    names = list(inspect.signature(model.forward).parameters)
    call = Call((), dict(zip(names, given, strict=True))) if named else Call(given)
    (told,) = told_apart(model, [call])
    assert told.whole == whole
    few = torch.tensor([5, 2, 7])
    if len(whole) == len(given):
        assert told.take(few) is None
        assert hold_out([told], 0.25, 0)[1] == []
    elif told.rows > 1:
        taken = told.take(few)
        for number, tensor in enumerate(taken.tensors):
            assert torch.equal(tensor, given[number] if number in whole else given[number][few])


def test_calls_of_one_form_share_an_answer_and_others_have_their_own():
    calls = [Call((rows(12, 4), SQUARE)), Call((rows(7, 4), rows(7, 4))), Call((rows(7, 4), SQUARE[:, :4]))]
    assert [call.whole for call in told_apart(Added(), calls[1:2])] == [frozenset()]
    assert [call.whole for call in told_apart(Classes(), calls[1:])] == [frozenset({1}), frozenset({1})]


class NodesOfAGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(6, 48, 3)

    def forward(self, x, adjacency):
        return adjacency @ self.body(adjacency @ x)


@pytest.mark.parametrize("pack", [tuple, lambda given: dict(zip(("x", "adjacency"), given, strict=True))])
def test_a_graph_as_large_as_the_batch_is_compressed_and_validated(pack):
    net, x = NodesOfAGraph(), rows(60, 6)
    adjacency = (rows(60, 60, seed=1) > 0.8).double() / 6 + torch.eye(60, dtype=x.dtype)
    inputs = pack((x, adjacency))
    made = jlab_compress.compress(net, 12, calibration=inputs, effort=FAST, progress=False)
    with torch.no_grad():
        wanted, found = net(x, adjacency), made.model(x, adjacency)
    assert made.report.facts["function_gap"] == pytest.approx(float((found - wanted).norm() / wanted.norm()))
    note = "Calibration rows depend too much on one another to hold some out"
    assert any(line.startswith(note) for line in made.report.notes)
    found = jlab_compress.validate(
        net,
        made.model,
        [(inputs, wanted)],
        nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        steps=2,
        progress=False,
    )
    assert found.function_gap == pytest.approx(made.report.facts["function_gap"])


def test_a_table_beside_the_rows_leaves_rows_to_hold_out():
    class Compared(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(6, 48, 3)

        def forward(self, x, table):
            return self.body(x) @ table.T

    prepared = jlab_compress.prepare(Compared(), (rows(60, 6), rows(60, 3, seed=1)))
    (held,) = prepared.held
    assert [tuple(t.shape) for t in held.tensors] == [(6, 6), (60, 3)]
