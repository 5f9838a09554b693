"""An interrupted compression leaves what is done of it, says what that is worth, and goes on from there."""

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

from jlab_compress import AIMS, Aim, compress, compress_baseline, last_interrupted, prepare
from jlab_compress.fitting.aims import short_training
from tests.models import mlp, rows, seeded
from tests.quick import FAST, X, same, tensors


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(short_training.train_on, "__defaults__", (4,))


def progress_until(name):
    """A progress function that interrupts in a stage."""

    def progress(seen, done, every):
        if name in seen:
            raise KeyboardInterrupt("stopped by the user")

    return progress


@pytest.fixture
def fits(monkeypatch):
    """The names of the blocks that are fitted; the fit of a block named in the second list is interrupted."""
    seen, stop, start_for = [], [], Aim.start_for

    def begin(aim, site):
        if site.block.name in stop:
            raise KeyboardInterrupt("stopped by the user")
        seen.append(site.block.name)
        return start_for(aim, site)

    monkeypatch.setattr(Aim, "start_for", begin)
    return seen, stop


def normed():
    return seeded(
        nn.Sequential,
        nn.Linear(6, 40),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Linear(40, 30),
        nn.Tanh(),
        nn.Linear(30, 3),
    ).double()


CASES = {
    "dynamics": (mlp(6, 40, 30, 3), {"0": 8, "2": 7}, "2", {}),
    "function": (mlp(6, 40, 30, 3), {"0": 8, "2": 7}, "2", {"preserve": "function"}),
    "plain": (mlp(6, 40, 30, 3), {"0": 8, "2": 7}, "2", {"plain": True}),
    "moments": (
        nn.Sequential(*mlp(1, 40, 1), *mlp(1, 30, 1)),
        {"0": 8, "3": 8},
        "3",
        {"preserve": "moments", "calibration": rows(60, 1)},
    ),
    "batch norm": (normed(), {"0": 8, "3": 7}, "3", {}),
    "jointly": (mlp(6, 40, 30, 3), {"0": 8, "2": 7}, "joint", {}),
}  # fmt: skip


def held_out_gap(net, slim, calibration):
    x = torch.cat([call.args[0] for call in prepare(net, calibration).held])
    net, slim = copy.deepcopy(net).eval(), copy.deepcopy(slim).eval()
    with torch.no_grad():
        return float((slim(x) - net(x)).norm() / net(x).norm())


@pytest.mark.parametrize("name", CASES)
def test_what_is_done_is_kept_and_the_rest_gives_the_same_bits_as_without_the_stop(name, fits):
    net, widths, at, options = CASES[name]
    seen, stop = fits
    options = {"calibration": X, "effort": FAST, **options}
    whole = compress(net, widths, progress=False, **options)
    assert last_interrupted() is None
    stop.append(at)
    with pytest.raises(KeyboardInterrupt, match="stopped by the user") as caught:
        compress(
            net, widths, progress=progress_until("joint" if at == "joint" else "no such stage"), **options
        )
    jointly = at == "joint"
    stage = "before the joint refinement was done" if jointly else "at 50 %"
    words = f"Stopped {stage}: {1 + jointly} of 2 blocks are slim"
    assert caught.value.__notes__[0].startswith(f"{words}; jlab_compress.last_interrupted()")
    found = last_interrupted()
    assert found is last_interrupted()
    assert found.report.summary.startswith(words)
    gap = held_out_gap(net, found.model, options["calibration"])
    assert found.report.facts["function_gap"] == pytest.approx(gap, rel=1e-5)
    assert f"function gap {gap:.2g}" in found.report.summary
    assert gap > 0
    slim = [found.model.get_submodule(block).out_features for block in widths]
    full = [net.get_submodule(block).out_features for block in widths]
    made = [block.width_after for block in whole.plan.blocks]
    assert slim == (made if jointly else [made[0], full[1]])
    assert [block.name for block in found.plan.blocks] == list(widths)[: 1 + jointly]
    stop.clear()
    seen.clear()
    resumed = found.resume(progress=False)
    assert seen == ([] if jointly else [at])
    assert same(tensors(resumed.model), tensors(whole.model))
    assert resumed.plan == whole.plan
    assert str(resumed.report) == str(whole.report)
    assert last_interrupted() is None


def stopped(net, widths, at, fits, **options):
    fits[1][:] = [at]
    with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
        compress(net, widths, calibration=X, effort=FAST, progress=False, **options)
    fits[1].clear()


WIDTHS = {"0": 8, "2": 7}


def test_a_stop_before_anything_is_done_says_so(fits):
    fits[1].append("0")
    with pytest.raises(KeyboardInterrupt, match="stopped by the user") as caught:
        compress_baseline(mlp(6, 40, 30, 3), WIDTHS, calibration=X, method="greedy")
    assert caught.value.__notes__ == ["Stopped: nothing was made"]
    assert last_interrupted() is None


def test_a_stop_while_others_are_compared_leaves_the_model_that_was_refined_jointly(fits, monkeypatch):
    net = mlp(6, 40, 30, 3)
    function = replace(AIMS["function"], joint=AIMS["dynamics"].joint, name="mine")
    alone = compress(
        net, WIDTHS, calibration=X, effort=FAST, progress=False, preserve=replace(function, alternatives=())
    )
    with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
        compress(
            net, WIDTHS, calibration=X, effort=FAST, progress=progress_until("to compare"), preserve=function
        )
    found = last_interrupted()
    assert same(tensors(found.model), tensors(alone.model))
    assert found.plan == alone.plan
    assert found.report.summary.startswith(
        "Stopped at the last checks: 2 of 2 blocks are slim, refined jointly. "
    )
    assert found.report.facts["function_gap"] == alone.report.facts["function_gap"]


def test_it_may_be_stopped_and_taken_up_again_and_again(fits):
    net, widths = mlp(6, 40, 30, 20, 3), {"0": 8, "2": 7, "4": 6}
    whole = compress(net, widths, calibration=X, effort=FAST, progress=False)
    stopped(net, widths, "2", fits)
    first = last_interrupted()
    fits[1].append("4")
    with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
        first.resume(progress=False)
    fits[1].clear()
    second = last_interrupted()
    assert [len(found.plan.blocks) for found in (first, second)] == [1, 2]
    assert first.model[2].out_features == 30
    assert all(
        same(tensors(found.resume(progress=False).model), tensors(whole.model)) for found in (second, first)
    )


def test_what_was_made_is_the_callers_and_training_it_does_not_reach_the_way_on(fits):
    net = mlp(6, 40, 30, 3)
    whole = compress(net, WIDTHS, calibration=X, effort=FAST, progress=False)
    stopped(net, WIDTHS, "2", fits)
    found = last_interrupted()
    with torch.no_grad():
        for p in found.model.parameters():
            p.add_(1.0)
    assert same(tensors(found.resume(progress=False).model), tensors(whole.model))


def test_a_model_that_was_trained_since_is_not_gone_on_with(fits):
    net = mlp(6, 40, 30, 3)
    stopped(net, WIDTHS, "2", fits)
    net[0].weight.data.add_(1e-3)
    with pytest.raises(ValueError, match=r"^model: 0.weight has changed since the model was prepared"):
        last_interrupted().resume()


@pytest.mark.parametrize("released_by", ["the next call", "the end of the model"])
def test_it_keeps_nothing_alive_for_ever(released_by, fits):
    net = mlp(6, 40, 30, 3)
    stopped(net, WIDTHS, "2", fits)
    copied, made = (
        weakref.ref(m) for m in (last_interrupted().work.prepared.original, last_interrupted().model)
    )
    if released_by == "the next call":
        compress_baseline(mlp(6, 40, 3), 8, calibration=X, method="random")
    else:
        del net
        gc.collect()
    assert last_interrupted() is None
    gc.collect()
    assert copied() is made() is None


def test_the_callers_progress_function_is_not_kept():
    class Bar:
        def __call__(self, name, done, every):
            if name == "2":
                raise KeyboardInterrupt("stopped by the user")

    net, bar = mlp(6, 40, 30, 3), Bar()
    with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
        compress(net, WIDTHS, calibration=X, effort=FAST, progress=bar)
    assert last_interrupted().plan.blocks[0].name == "0"
    gone = weakref.ref(bar)
    del bar
    gc.collect()
    assert gone() is None
