"""Models to measure against: of the same widths, made once, and only from a pair that belongs together."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.compression.interrupted import last_interrupted
from jlab_compress.compression.prepare import prepare
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.storage import load, save
from jlab_compress.validation.roles import FUNCTION, RANDOM, REFERENCES, REORDERED
from jlab_compress.validation.training.references import check_shared_plan, read_references
from tests.slim.saved import models as saved

INPUTS = [torch.randn(30, 3, generator=torch.Generator().manual_seed(i)) for i in range(4)]


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 2))
    return net, compress_baseline(net, 6, calibration=torch.cat(INPUTS), method="k-means").model


def references(pair, names=REFERENCES, original=None):
    return read_references(original or pair[0], pair[1], names, inputs=INPUTS, seed=0, effort="quick")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_what_an_interrupted_compression_left_stays_while_references_are_made(pair):
    def stop(name, done, every):
        if name == "2":
            raise KeyboardInterrupt("stopped by the user")

    with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
        compress(pair[0], 6, calibration=torch.cat(INPUTS), effort="quick", progress=stop)
    left = last_interrupted()
    references(pair, (RANDOM,)).made(0, {})
    assert last_interrupted() is left


def test_references_have_the_widths_of_the_slim_model(pair):
    made = references(pair).made(0, {})
    assert set(made) == {RANDOM, FUNCTION}
    for model in made.values():
        assert [block.width_after for block in plan_of(model).blocks] == [6, 6]


def test_each_seed_draws_another_subset_and_the_function_is_fitted_once(pair):
    how = references(pair)
    first = how.made(0, {})
    second, again = how.made(1, first), how.made(0, first)
    assert second[FUNCTION] is first[FUNCTION]
    assert not torch.equal(weights(second[RANDOM]), weights(first[RANDOM]))
    assert torch.equal(weights(again[RANDOM]), weights(first[RANDOM]))


def test_what_needs_no_fit_needs_no_look_at_the_model(pair):
    how = references(pair, (REORDERED,))
    assert (how.prepared, how.made(0, {}), how.notes) == (None, {}, ())


def test_a_prepared_model_brings_its_own_calibration(pair):
    prepared = prepare(pair[0], torch.cat(INPUTS))
    how = references(pair, original=prepared)
    assert how.prepared is prepared
    assert how.notes == (
        "Function only: greedy selection and least-squares refit, block by block, on the calibration.",
    )  # fmt: skip


def test_enough_batches_are_read_and_no_more(pair):
    many = [torch.randn(3000, 3) for _ in range(5)]
    how = read_references(*pair, (RANDOM,), inputs=many, seed=0, effort="quick")
    assert sum(call.rows for call in how.prepared.calls) == 6000


def test_references_that_cannot_be_made_of_the_original_as_it_is_now_are_left_out(pair):
    net = copy.deepcopy(pair[0])
    nn.utils.parametrizations.weight_norm(net[0])
    how = references(pair, original=net)
    assert how.names == (REORDERED,)
    assert (how.prepared, how.made(0, {})) == (None, {})
    (note,) = how.notes
    assert note.startswith("Left out (random subset, function only): block 0 of the original cannot be ")
    assert "computed by a parametrization" in note


def test_a_block_of_a_kind_of_the_callers_own_is_asked_for(pair):
    slim = copy.deepcopy(pair[1])
    plan = plan_of(slim)
    attach_plan(slim, replace(plan, blocks=(replace(plan.blocks[0], name="mine"), plan.blocks[1])))
    (note,) = references((pair[0], slim)).notes
    assert note.endswith("block mine is not found in the original; pass what prepare returned for it.")


def test_an_unknown_reference_is_refused(pair):
    with pytest.raises(ValueError, match="references: 'best' is unknown; choose from another batch order"):
        references(pair, ("best",))


@pytest.mark.parametrize("name", [name for name in saved.MODELS if "folded" not in name])
def test_every_kind_of_slim_block_belongs_to_its_original(name, tmp_path):
    """Batch norms and depthwise layers get slimmer with their block, in files of the first format too."""
    original = saved.fresh(name)
    back = load(saved.HERE / f"{name}.safetensors", original)
    save(back, tmp_path / "again")
    for slim in (back, load(tmp_path / "again", original)):
        check_shared_plan(original, slim)
        with pytest.raises(ValueError, match=r"original: block .* should have .* found"):
            check_shared_plan(slim, slim)


def test_a_pair_that_belongs_together_passes_and_others_do_not(pair):
    net, slim = pair
    check_shared_plan(net, slim)
    with pytest.raises(ValueError, match=r"original: block '0' should have 20 neurons .* found 6"):
        check_shared_plan(slim, slim)
    with pytest.raises(ValueError, match="slim: block '0' is folded, which trains otherwise"):
        check_shared_plan(net, fold(slim))
    with pytest.raises(ValueError, match="has no compression plan"):
        check_shared_plan(net, net)
    with pytest.raises(TypeError, match=r"original: expected a torch\.nn\.Module, got str"):
        check_shared_plan("net", slim)
