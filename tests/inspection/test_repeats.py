"""Models that answer otherwise when they run again are told as such, and put right where that can be."""

import itertools

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.repeats import repetition
from tests.models import mlp, rows
from tests.quick import FAST

X = rows(60, 6)


class Body(nn.Module):
    """A plain network; its children change themselves when they run."""

    def __init__(self):
        super().__init__()
        self.body = mlp(6, 48, 3)
        self.count = 0
        self.register_buffer("norm", torch.ones(1, dtype=torch.float64))
        self.own = torch.Generator().manual_seed(0)
        self.seen, self.kept = [], {}

    def forward(self, x):
        return self.body(x)


class Counter(Body):
    def forward(self, x):
        self.count += 1
        return self.body(x) * self.count


class RunningNorm(Body):
    def forward(self, x):
        self.norm.mul_(0.9).add_(0.1 * x.norm())
        return self.body(x) / self.norm


class OwnGenerator(Body):
    def forward(self, x):
        return self.body(x) + torch.rand(1, generator=self.own, dtype=x.dtype)


class Memory(Body):
    def forward(self, x):
        self.seen.append(x.mean())
        return self.body(x) + sum(self.seen)


class Taken(Body):
    """It fails when it runs again."""

    def __init__(self):
        super().__init__()
        self.kept = {"scale": 2.0}

    def forward(self, x):
        return self.body(x) * self.kept.pop("scale")


FROM_ONE_STATE = {
    Counter: "count",
    RunningNorm: "norm",
    OwnGenerator: "own",
    Memory: "seen",
    Taken: "kept",
}


class Cached(Body):
    """It keeps things, on which the outputs do not depend."""

    def forward(self, x):
        self.count += 1
        self.kept.setdefault("factor", torch.ones(1, dtype=x.dtype))
        self.last = self.body(x)
        return self.last * self.kept["factor"]


class InPlace(Body):
    def forward(self, x):
        x += 1.0
        return self.body(x)


class Drawing(Body):
    def forward(self, x):
        return self.body(x) + torch.randn_like(x[:, :1])


ticks = itertools.count()


class Clock(Body):
    """What it depends on is held by no module."""

    def forward(self, x):
        return self.body(x) + next(ticks)


@pytest.mark.parametrize("kind", FROM_ONE_STATE)
def test_what_a_run_changes_is_undone_and_said(kind):
    net = kind()
    blocks = jlab_compress.find_blocks(net, X)
    assert [(block.name, block.locked) for block in blocks] == [("body.0", None)]
    (note,) = blocks.notes
    assert note.startswith(f"The model does not repeat: a run changes `{FROM_ONE_STATE[kind]}`,")
    assert note in repr(blocks)
    plain = jlab_compress.compress(net.body, 8, calibration=X, effort=FAST, progress=False)
    made = jlab_compress.compress(net, 8, calibration=X, effort=FAST, progress=False)
    assert note in made.report.notes
    held_out = kind()
    assert made.report.facts["function_gap"] == pytest.approx(gap(held_out, plain.model), rel=0.5)


def gap(net, slim_body):
    """The function gap of a model that is run once, and of one with another body that is run once."""
    with torch.no_grad():
        wanted = net(X.clone())
        other = type(net)()
        other.body = slim_body
        return float((other(X.clone()) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("kind", [Body, Cached, InPlace, Drawing])
def test_a_model_that_repeats_has_no_note(kind):
    blocks = jlab_compress.find_blocks(kind(), X)
    assert [block.locked for block in blocks] == [None]
    assert blocks.notes == ()


def test_a_model_that_cannot_be_made_to_repeat_is_locked_with_that_reason():
    (block,) = jlab_compress.find_blocks(Clock(), X)
    assert block.locked.startswith(
        "the model does not repeat: run again on the same inputs, its outputs are "
    )
    with pytest.raises(jlab_compress.UnsupportedBlockError, match="the model does not repeat"):
        jlab_compress.compress(Clock(), 8, calibration=X, progress=False)


def test_a_model_that_fails_when_it_runs_again_is_told_apart():
    class Once(Body):
        def forward(self, x):
            if next(runs):
                raise RuntimeError("once is enough")
            return self.body(x)

    runs = itertools.count()
    found = repetition(Once(), Call((X,)))
    assert "it fails (RuntimeError: once is enough)" in found.fault


def test_nothing_of_the_models_own_has_changed(fingerprint):
    for kind in FROM_ONE_STATE:
        net = kind()
        before, state = fingerprint(net), repr(vars(net))
        jlab_compress.find_blocks(net, X)
        assert (fingerprint(net), repr(vars(net))) == (before, state)
