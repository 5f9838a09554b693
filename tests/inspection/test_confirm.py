import copy
import math

import pytest
import torch
from torch import nn

from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.inspection import confirm
from jlab_compress.inspection import find as listing
from jlab_compress.inspection.block import Block
from jlab_compress.inspection.confirm import permute, restored, split
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import count_units
from jlab_compress.slim.operators import units_of
from tests.models import mlp, rows, seeded

X = rows(5, 4)
# Two runs to tell rows apart, a trial, a recorded one, three to see whether the model repeats, two to watch
# which way runs take, a recorded one in training mode, one permuted and one split run.
FIXED = 12


class Stages(nn.Module):
    """Residual stages; those in `bad` depend on their width. Each run adds to a list that copies share."""

    def __init__(self, count, bad=()):
        super().__init__()
        self.wide = nn.ModuleList(nn.Linear(4, 9) for _ in range(count))
        self.back = nn.ModuleList(nn.Linear(9, 4) for _ in range(count))
        self.bad = bad
        self.runs = Shared()

    def forward(self, x):
        self.runs.append(1)
        for index, (wide, back) in enumerate(zip(self.wide, self.back, strict=True)):
            h = torch.relu(wide(x))
            x = x + back(h / h.shape[-1] if index in self.bad else h)
        return x


class Shared:
    """Counts runs; it is one object for all copies."""

    def __init__(self):
        self.count = 0

    def append(self, item):
        self.count += 1

    def clear(self):
        self.count = 0

    def __len__(self):
        return self.count

    def __deepcopy__(self, memo):
        return self


class Cancelling(nn.Module):
    """Blocks a and c, whose dependence on the width cancels where both become wider by the same factor."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 9, bias=False), nn.Linear(9, 4, bias=False)
        self.c, self.d = nn.Linear(4, 9, bias=False), nn.Linear(9, 4, bias=False)

    def forward(self, x):
        h = torch.relu(self.a(x))
        k = torch.relu(self.c(self.b(h / h.shape[-1])))
        return self.d(k * k.shape[-1])


def stages(count, bad=()):
    return seeded(Stages, count, bad).double()


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_the_number_of_runs_does_not_grow_with_the_number_of_sound_blocks(count):
    model = stages(count)
    found = find_blocks(model, X)
    assert len(found.unlocked) == count
    assert len(model.runs) == FIXED


@pytest.mark.parametrize(("count", "bad"), [(8, (0,)), (8, (7,)), (13, (5,)), (32, (20,)), (16, (3, 4, 15))])
def test_blocks_that_fail_in_company_are_found_in_logarithmically_many_runs(count, bad):
    model = stages(count, bad)
    found = find_blocks(model, X)
    locked = {block.name: block.locked for block in found if block.name.startswith("wide") and block.locked}
    assert set(locked) == {f"wide.{index}" for index in bad}
    assert all("split in two" in words for words in locked.values())
    assert len(model.runs) <= FIXED + len(bad) * 2 * math.ceil(math.log2(count))


def test_where_every_block_fails_the_runs_stay_linear():
    model = stages(12, range(12))
    assert not find_blocks(model, X).unlocked
    assert len(model.runs) <= FIXED + 2 * 12


def test_dependences_on_the_width_that_cancel_in_company_are_not_confirmed():
    found = find_blocks(seeded(Cancelling).double(), X)
    assert [block.name for block in found.unlocked] == ["b"]
    assert all("split in two" in found.named(name).locked for name in ("a", "c"))


def test_modules_are_searched_for_shared_weights_once_per_record_and_not_once_per_block(monkeypatch):
    made = []

    class Counted(Uses):
        def __init__(self, *args):
            made.append(1)
            super().__init__(*args)

    monkeypatch.setattr(listing, "Uses", Counted)
    assert len(find_blocks(stages(9), X).unlocked) == 9
    assert len(made) == 2  # in evaluation and in training mode


def test_one_copy_of_the_model_serves_all_trials(monkeypatch):
    made = []

    def counted(model):
        made.append(model)
        return copy.deepcopy(model)

    monkeypatch.setattr(confirm, "copy_model", counted)
    model = stages(9, (2, 5))
    found = find_blocks(model, X)
    assert [b.name for b in found if b.name.startswith("wide") and b.locked] == ["wide.2", "wide.5"]
    assert len(made) == 1


def test_everything_that_a_trial_changed_is_put_back():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    net.sizes, net.cache = {"inner": 4}, None
    net.register_buffer("positions", torch.arange(3.0).expand(2, 3))  # cannot be written into
    before = copy.deepcopy(net.state_dict())
    kept = [id(p) for p in net.parameters()]
    with restored(net):
        block = Block("0", "mlp", units_of(net, ("0",), "2", 4, treating=("1",)), 4, 9, 36, None)
        split(net, block, 0)
        count_units(net, block, torch.ones(net[0].out_features))
        assert type(net[0]) is not nn.Linear
        net.sizes["inner"], net.cache = 5, torch.ones(1)
        net[1].num_batches_tracked.add_(3)
    assert [id(p) for p in net.parameters()] == kept
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert (type(net[0]), net[0].out_features, net[2].in_features) == (nn.Linear, 4, 4)
    assert (net.sizes, net.cache) == ({"inner": 4}, None)


@pytest.mark.parametrize("change", [permute, split])
def test_a_change_by_itself_leaves_the_function(change):
    net = stages(1)
    (block,) = find_blocks(net, X).unlocked
    changed = copy.deepcopy(net)
    change(changed, block, 3)
    assert not torch.equal(changed.wide[0].weight[:9], net.wide[0].weight) or change is split
    assert torch.allclose(changed(X), net(X), rtol=1e-12)
    assert (changed.wide[0].out_features > 9) == (change is split)


class Tired(nn.Module):
    """Fails for good once it is gone, whatever its units are."""

    gone = False

    def __init__(self):
        super().__init__()
        self.net = mlp(5, 8, 3)

    def forward(self, x):
        if Tired.gone:
            raise RuntimeError("the device is gone")
        return self.net(x)


def test_a_run_that_fails_for_another_reason_is_not_told_as_one_of_the_model(monkeypatch):
    monkeypatch.setattr(Tired, "gone", False)
    monkeypatch.setattr(confirm, "permute", lambda *_: setattr(Tired, "gone", True))
    locked = find_blocks(Tired(), rows(8, 5)).named("net.0").locked
    failed = "a run to confirm it failed, and so did the unchanged model"
    assert locked == f"{failed} (RuntimeError: the device is gone); try again"
