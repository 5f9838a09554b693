import copy

import pytest
import torch
from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.fits.site import Site, naming
from tests.models import mlp, rows, seeded
from tests.quick import X

NET = mlp(6, 40, 30, 3, activation=nn.Tanh)
PREPARED = prepare(NET, X)


def site(name, slim=PREPARED.original, **more):
    return Site(PREPARED.original, slim, PREPARED.blocks.named(name), PREPARED.calls, **more)


def test_a_block_sees_what_reaches_it_in_the_slim_model():
    slim = copy.deepcopy(NET)
    slim[0].weight.data *= 2
    with torch.no_grad():
        assert torch.allclose(site("2", slim).inputs, slim[:2](X))
        assert not torch.allclose(site("2", slim).inputs, NET[:2](X))
        assert torch.allclose(site("2", slim).layer(slim[:2](X)), slim(X))


def test_behind_slim_blocks_the_goal_is_the_original():
    slim = copy.deepcopy(NET)
    slim[0].weight.data *= 2
    with torch.no_grad():
        rows_seen = site("2", slim, follows_slim=True).rows
        assert torch.allclose(rows_seen.targets, NET(X))
        assert site("2", slim).rows.targets is None
        assert rows_seen.synthetic == 0


def test_tokens_bring_synthetic_rows_with_them():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.body = nn.Embedding(20, 6), mlp(6, 16, 3, dtype=torch.float32)

        def forward(self, tokens):
            return self.body(self.embedding(tokens)).mean(dim=1)

    model = seeded(Words)
    prepared = prepare(model, torch.randint(20, (12, 5), generator=torch.Generator().manual_seed(0)))
    place = Site(model, model, prepared.blocks.named("body.0"), prepared.calls)
    assert (place.rows.synthetic, len(place.rows.inputs)) == (60, 120)
    assert (place.real_rows.synthetic, len(place.inputs)) == (0, 60)


def test_channels_have_inputs_only():
    net = seeded(nn.Sequential, nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).double()
    prepared = prepare(net, rows(10, 1, 7, 7))
    place = Site(net, net, prepared.blocks.named("0"), prepared.calls, follows_slim=True)
    assert place.rows.targets is None
    assert place.rows.inputs is place.inputs
    assert place.inputs.shape == (250, 9)


def test_errors_name_the_block_and_others_pass():
    block = PREPARED.blocks.named("2")
    with pytest.raises(ValueError, match=r"^block 2: too few rows$"), naming(block):
        raise ValueError("too few rows")
    with pytest.raises(KeyError, match=r"^'no'$"), naming(block):
        raise KeyError("no")
