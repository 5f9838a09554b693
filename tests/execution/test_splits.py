import torch

from jlab_compress.execution.calls import Call
from jlab_compress.execution.splits import first_rows, hold_out, portions
from tests.models import rows

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
