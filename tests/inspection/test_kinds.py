"""A kind of block added from outside goes through every public call."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import jlab_compress as jc
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.surgery import select_units
from jlab_compress.slim.units import Located
from tests.inspection import waves
from tests.inspection.waves import SINES, WAVES, Sines
from tests.models import rows, seeded

X = rows(80, 3)


def net(count=6):
    return nn.Sequential(Sines(3, count), nn.Linear(count, 4), nn.ReLU(), nn.Linear(4, 2)).double()


def repeated():
    """Return a net with three copies of each of four waves."""
    model = seeded(net, 4)
    where = Located("0", "waves", units_of(model, ("0",), "1", 4, more=(SINES,)))
    select_units(model, where.units, torch.arange(4).repeat(3), torch.full((12,), 1 / 3))
    model[0].waves = model[1].in_features = 12
    return model


def trained(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(X) - X[:, :2].cos()).square().mean().backward()
        optimizer.step()
    return model(X).detach()


def adam(model):
    return torch.optim.AdamW(model.parameters(), 1e-2)


def test_it_is_said_in_less_than_60_lines():
    assert len(Path(waves.__file__).read_text().splitlines()) < 60


def test_it_is_found_confirmed_and_stands_beside_the_kinds_that_are_known():
    blocks = jc.find_blocks(seeded(net), X, kinds=[WAVES])
    assert [(b.name, b.kind, b.width, b.dimension, b.locked) for b in blocks] == [
        ("0", "waves", 6, 3 + 1 + 4, None),
        ("1", "mlp", 4, 6 + 1 + 2, None),
    ]
    without = jc.find_blocks(seeded(net), X)
    assert [(b.name, b.locked is None) for b in without] == [("0.frequencies", False), ("1", True)]


def test_what_depends_on_the_number_of_waves_is_locked():
    class Mean(nn.Module):
        def forward(self, x):
            return x / x.shape[-1]

    sines, *others = seeded(net)
    blocks = jc.find_blocks(nn.Sequential(sines, Mean(), *others), X, kinds=[WAVES])
    assert "change when its waves are split in two" in blocks.named("0").locked


def test_repeated_waves_collapse_and_train_like_the_original_through_every_public_call(tmp_path):
    model = repeated()
    before = copy.deepcopy(model.state_dict())
    old = adam(model)
    trained(model, old, 10)
    start = model(X).detach()
    prepared = jc.prepare(model, X, kinds=[WAVES])
    result = jc.compress(prepared, {"0": 4}, progress=False)
    slim = result.model
    assert (slim[0].waves, slim[0].output_multiplicities.tolist()) == (4, [3.0] * 4)
    assert torch.allclose(slim(X), start, rtol=1e-12)
    folded = jc.fold(slim)
    assert type(folded[0]) is Sines
    assert torch.allclose(folded(X), start, rtol=1e-12)
    jc.save(slim, tmp_path / "slim")
    back = jc.load(tmp_path / "slim", net(12), operators=[SINES])
    assert torch.equal(back(X), slim(X))
    new = jc.transfer_optimizer(old, model, slim)
    assert new.state[slim[0].frequencies]["exp_avg"].shape == (3, 4)
    expected = trained(model, old, 50)
    assert (expected - start).norm() > 0.1 * start.norm()
    assert torch.allclose(trained(slim, new, 50), expected, rtol=1e-8)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    assert float(jc.clip_grad_norm_(slim.parameters(), 1e9)) == pytest.approx(float(norm))
    assert not torch.allclose(trained(back, adam(back), 50), expected, rtol=1e-8), "state makes no difference"
    assert before.keys() == model.state_dict().keys()


@pytest.mark.parametrize("preserve", ["function", "dynamics"])
def test_fewer_waves_than_distinct_ones_are_fitted(preserve):
    model = seeded(net, 12)
    prepared = jc.prepare(model, X, kinds=[WAVES])
    result = jc.compress(prepared, {"0": 6}, preserve=preserve, progress=False)
    gap = (result.model(X) - model(X)).norm() / model(X).norm()
    assert result.plan.blocks[0].width_after <= 6
    assert gap < 0.9
    assert float(result.report.facts["function_gap"]) < 0.9


def test_slim_layers_of_an_unknown_type_keep_what_is_known_of_them():
    slim = jc.compress(jc.prepare(repeated(), X, kinds=[WAVES]), {"0": 4}, progress=False).model
    for copied in (copy.deepcopy(slim), pickle.loads(pickle.dumps(slim))):
        assert torch.equal(copied(X), slim(X))
        assert jc.squared_norm(copied).item() == jc.squared_norm(slim).item()
        assert type(jc.fold(copied)[0]) is Sines


@pytest.mark.parametrize("kinds", [3, ["waves"], WAVES])
def test_what_is_no_list_of_kinds_is_refused(kinds):
    with pytest.raises(TypeError, match=r"^kinds: expected a list of Kind, got"):
        jc.find_blocks(net(), X, kinds=kinds)
