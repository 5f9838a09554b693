"""Which blocks only the network around them can fit, and which can be matched jointly."""

import pytest
import torch
from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.joint.task import (
    Outcome,
    Refinement,
    is_refined,
    layers_of,
    matchable,
    needs_whole,
    network_blocks,
    share_stream,
)
from jlab_compress.fitting.fit import Fit
from tests.models import mlp, rows, seeded


class Stream(nn.Module):
    """One feed-forward block or two, added to what goes in and normed."""

    def __init__(self, count=2):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(6, 16) for _ in range(count))
        self.down = nn.ModuleList(nn.Linear(16, 6) for _ in range(count))
        self.norm = nn.ModuleList(nn.LayerNorm(6) for _ in range(count))

    def forward(self, x):
        for up, down, norm in zip(self.up, self.down, self.norm, strict=True):
            x = norm(x + down(torch.relu(up(x))))
        return x


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),
        nn.Flatten(),
        nn.Linear(36, 16),
        nn.Tanh(),
        nn.Linear(16, 2),
    )


def normed():
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 2)
    )


def heads():
    return nn.TransformerEncoderLayer(12, 6, 16, 0.0, batch_first=True)


def task_of(model, x, names=None):
    prepared = prepare(model.double().eval(), x)
    blocks = [b for b in prepared.blocks.unlocked if names is None or b.name in names]
    how = (prepared.trace.modules, prepared.fit, prepared.held)
    return Refinement(prepared.original, prepared.original, tuple(blocks), *how)


X, IMAGES, WORDS = rows(30, 6), rows(20, 1, 7, 7), rows(20, 5, 12)


@pytest.mark.parametrize(
    ("build", "x", "names", "shared", "in_network"),
    [
        (lambda: mlp(6, 16, 12, 2), X, None, False, set()),
        (convolutions, IMAGES, None, False, {"0", "2"}),
        (convolutions, IMAGES, {"4"}, False, set()),
        (normed, X, None, False, {"0"}),
        (normed, X, {"3"}, False, set()),
        (Stream, X, None, True, {"up.0", "up.1"}),
        (lambda: Stream(1), X, None, True, {"up.0"}),
        (heads, WORDS, {"self_attn"}, False, set()),
        (heads, WORDS, None, True, {"self_attn", "linear1"}),
    ],
)
def test_neurons_in_a_stream_channels_and_normed_neurons_need_the_network(
    build, x, names, shared, in_network
):
    task = task_of(seeded(build), x, names)
    assert share_stream(task.blocks) == shared
    assert network_blocks(task) == in_network


def test_nothing_is_matched_in_half_precision_or_without_held_out_rows():
    task = task_of(seeded(normed), X)
    assert {block.name for block in matchable(task)} == {"0", "3"}
    half = task_of(seeded(normed), X)
    half.original.bfloat16()
    assert matchable(half) == ()
    unjudged = task_of(seeded(normed), X[:3])
    assert matchable(unjudged) == ()
    assert network_blocks(unjudged) == frozenset()


def test_one_plain_block_is_left_to_its_own_fit():
    task = task_of(mlp(6, 16, 12, 2), X)
    assert [block.name for block in matchable(task)] == ["0", "2"]
    assert matchable(task.of(task.blocks[:1])) == ()
    assert not any(needs_whole(block) for block in task.blocks)


def test_a_layer_that_does_not_run_itself_cannot_be_matched():
    task = task_of(mlp(6, 16, 12, 2), X)
    gone = Refinement(task.original, task.slim, task.blocks, ("0", "1", "2"), task.fit, task.held)
    assert matchable(gone) == ()
    assert layers_of(task.blocks) == ["0", "2", "4"]


def test_a_fit_says_whether_it_was_refined_jointly():
    layer = object()
    fits = {
        name: Fit(layer, None, name, 0.1) for name in ("joint distillation", "NTK matching", "moved nodes")
    }
    assert [is_refined(fit) for fit in Outcome(fits).fits.values()] == [True, True, False]
