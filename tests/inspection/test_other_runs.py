"""What the first run of a model does not show: training mode, later batches, parts that no run reaches."""

import copy

import pytest
import torch
from torch import nn

import jlab_compress
from tests.models import mlp, rows, seeded
from tests.quick import FAST, narrow

X = rows(100, 6)


class Heads(nn.Module):
    """A hidden layer with a head, and a second one that somebody may read."""

    def __init__(self):
        super().__init__()
        body = mlp(6, 24, 3)
        self.first, self.head = body[0], body[2]
        self.other = mlp(24, 3)[0]
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.first(x))))


class Auxiliary(Heads):
    """The second head is read in training, into an attribute."""

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        self.loss = self.other(hidden).square().mean() if self.training else None
        return self.head(hidden)


class Penalty(Heads):
    """In training something else reads the hidden units."""

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        out = self.head(hidden)
        return (out, hidden.abs().mean()) if self.training else out


class Tasks(Heads):
    """Which head reads the hidden units depends on the input."""

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.head(hidden) if x.mean() < 10 else self.other(hidden)


class Averaged(Heads):
    """Training mixes the layer into a copy of it."""

    def __init__(self):
        super().__init__()
        self.average = copy.deepcopy(self.first)

    def forward(self, x):
        if self.training:
            self.average.weight.data.lerp_(self.first.weight.data, 0.1)
        return self.head(torch.relu(self.first(x)))


class Experts(nn.Module):
    """The sign of one feature says which of two experts a row is for; nothing goes to the other two."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(mlp(6, 20, 6, seed=i) for i in range(4))

    def forward(self, x):
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = ((x[:, 0] > 0).long() == number).nonzero()[:, 0]
            if len(mine):
                out = out.index_put((mine,), expert(x[mine]))
        return out


class Normalised(nn.Module):
    """Nothing is wrong with it: dropout, batch norm and noise that training draws."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.5), nn.Linear(24, 3)
        ).double()

    def forward(self, x):
        x = x + torch.randn_like(x) if self.training else x
        return self.body(x)


def locks(model, data=X, **options):
    return {block.name: block.locked for block in jlab_compress.find_blocks(model, data, **options)}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Auxiliary, "in training mode: its units are read by more than one layer (other, head)"),
        (Penalty, "in training mode: its hidden units are also read by `abs`"),
        (Averaged, "in training mode: the weight of first is also read outside its own forward"),
    ],
)
def test_what_reads_units_in_training_alone_locks_their_block(kind, words):
    assert locks(seeded(kind))["first"] == words
    with pytest.raises(jlab_compress.UnsupportedBlockError, match="in training mode: "):
        narrow(seeded(kind), {"first": 4}, x=X)


@pytest.mark.parametrize("kind", [Heads, Normalised])
def test_dropout_batch_norm_and_noise_in_training_lock_nothing(kind):
    assert set(locks(seeded(kind)).values()) == {None}


def test_a_head_that_a_later_batch_uses_locks_the_block():
    model, batches = seeded(Tasks), [X, X + 20]
    assert locks(model, batches[0]) == {"first": None}
    assert locks(model, batches[1:]) == {"first": None}
    words = "on {} batch 1: its units belong to other layers (other)"
    assert locks(model, batches) == {"first": words.format("example_inputs")}
    assert locks(model, batches, limit=1) == {"first": None}
    prepared = jlab_compress.prepare(model, iter(batches))
    assert prepared.blocks.named("first").locked == words.format("calibration")


def test_rows_far_behind_the_first_ones_are_looked_at_too():
    mixed = torch.cat([X.abs(), -X.abs()])  # the first rows all go to expert 1
    assert locks(Experts(), mixed)["experts.0.0"] == "it is reached only on example_inputs batch 0"


def test_experts_without_rows_are_listed_and_locked_and_said():
    blocks = jlab_compress.find_blocks(Experts(), X)
    found = {block.name: block.locked for block in blocks}
    reason = "no run reaches it, as no row is routed to it or another task uses it; pass inputs that do"
    assert found == {
        "experts.0.0": None,
        "experts.1.0": None,
        "experts.2.0": reason,
        "experts.3.0": reason,
    }
    (note,) = blocks.notes
    assert "kept as they are: experts.2, experts.3. " in note
    made = jlab_compress.compress(Experts(), 8, calibration=X, effort=FAST, progress=False)
    assert note in made.report.notes


def test_what_is_held_and_never_used_is_said():
    for model, names in ((seeded(Heads), "other"), (seeded(Tasks), "other"), (seeded(Penalty), "other")):
        (note,) = jlab_compress.find_blocks(model, X).notes
        assert f"kept as they are: {names}. " in note
    model = mlp(6, 12, 3)
    model.bare = nn.Parameter(torch.zeros(12))
    (note,) = jlab_compress.find_blocks(model, X).notes
    assert "kept as they are: bare. " in note
    assert jlab_compress.find_blocks(mlp(6, 12, 3), X).notes == ()


def test_layers_that_torch_runs_without_calls_of_their_own_are_reached():
    model = nn.Sequential(
        nn.LSTM(6, 5, batch_first=True), Last(), nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 2)
    )
    assert jlab_compress.find_blocks(model, torch.randn(4, 3, 6)).notes == ()
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert jlab_compress.find_blocks(encoder, torch.randn(4, 3, 8)).notes == ()


class Last(nn.Module):
    def forward(self, given):
        return given[0][:, -1]


class NeedsTargets(Heads):
    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("give targets in training")
        return super().forward(x)


def test_a_model_that_fails_in_training_mode_is_looked_at_in_evaluation_and_that_is_said():
    blocks = jlab_compress.find_blocks(seeded(NeedsTargets), X)
    assert [block.locked for block in blocks] == [None]
    assert "ValueError: give targets in training" in blocks.notes[0]


def test_the_model_and_random_states_stay_as_they_are(fingerprint):
    for kind in (Auxiliary, Averaged, Normalised):
        model = seeded(kind).train()
        before = fingerprint(model)
        jlab_compress.find_blocks(model, [X, X])
        prepared = jlab_compress.prepare(model, X)
        assert fingerprint(model) == before
        assert prepared.change() is None


def test_a_batch_on_which_the_model_fails_or_gives_nan_is_named():
    class Picky(Heads):
        def forward(self, x):
            if x.shape[1] != 6:
                raise ValueError("six features, please")
            return super().forward(x) / (x.mean() < 10).to(x.dtype).sub(0.5).clamp_min(0).log().exp()

    with pytest.raises(ValueError, match=r"calibration batch 1: the model fails on it .*six features"):
        jlab_compress.prepare(seeded(Picky), [X, X[:, :5]])

    class Roots(Heads):
        def forward(self, x):
            return super().forward(x).abs() * (x.mean() + 1).sqrt()

    with pytest.raises(ValueError, match="calibration batch 1: the model answers it with NaN"):
        jlab_compress.prepare(seeded(Roots), [X, X - 20])


def test_no_hook_of_the_user_runs_in_any_of_the_runs():
    net, heard = nn.Sequential(mlp(6, 12, 3), nn.BatchNorm1d(3).double()), []
    net.register_forward_pre_hook(lambda module, args: heard.append(module.training))
    net[0][0].register_forward_hook(lambda module, args, out: heard.append(out.mean()))
    net[1].register_forward_hook(lambda module, args, out: 2 * out)
    calls = [X[:9], X[9:], X[:70]]
    assert jlab_compress.find_blocks(net, calls).named("0.0").locked is None
    slim = jlab_compress.compress(net, {"0.0": 4}, calibration=calls, progress=False, effort=FAST).model
    assert heard == []
    slim.eval()(X)
    assert [type(each) for each in heard] == [bool, torch.Tensor]
