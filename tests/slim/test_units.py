"""One code for every axis of units: laws of a single axis, and a width that many layers share."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jlab_compress.slim.conversion import fold
from jlab_compress.slim.storage import load, save
from jlab_compress.slim.surgery import put_tensor, select_units
from jlab_compress.slim.units import Located, UnitAxis, modules_of, tensor_of
from jlab_compress.training.gradient_sums import copies_of
from jlab_compress.training.optimizer_transfer import transfer_optimizer
from tests.models import rows
from tests.slim.coupled import COUNTS, STREAM, Stream, repeated, small

X = rows(30, 4)


@st.composite
def axes(draw):
    """A tensor of up to four axes with distinct entries, the axis of its units, and their number."""
    sections, width, each = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    others = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    axis = draw(st.integers(0, 1))
    shape = [*others[:axis], sections * width * each, *others[axis:]]
    value = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    return value, UnitAxis("", "weight", axis, sections=sections, each=each), width


@settings(max_examples=60, deadline=None)
@given(axes())
def test_rows_and_columns_hold_all_entries_of_a_unit_and_give_the_tensor_back(drawn):
    value, unit, width = drawn
    assert unit.width(value) == width
    assert unit.length(width) == value.shape[unit.axis]
    found = unit.rows(value)
    assert found.shape == (width, value.numel() // width)
    assert torch.equal(unit.value(found, value), value)
    for number in range(width):
        mine = unit.spread(torch.arange(width) == number)
        own = value.movedim(unit.axis, 0)[mine]
        assert torch.equal(found[number].sort().values, own.flatten().sort().values)
    if unit.sections == 1:
        columns = unit.columns(value)
        assert torch.equal(columns.sort(1).values, found.sort(1).values)
        assert torch.equal(unit.value_of_columns(columns, value), value)


@settings(max_examples=60, deadline=None)
@given(axes(), st.integers(0, 100))
def test_selecting_is_selecting_rows_and_carrying_single_ones(drawn, seed):
    value, unit, width = drawn
    indices = torch.randint(width, (5,), generator=torch.Generator().manual_seed(seed))
    chosen = unit.select(value, indices)
    assert torch.equal(unit.rows(chosen), unit.rows(value)[indices])
    assert torch.equal(unit.carry(value, torch.eye(width)[indices]), chosen)
    mean = unit.carry(value.double(), torch.full((1, width), 1 / width))
    assert torch.allclose(unit.rows(mean), unit.rows(value.double()).mean(0, keepdim=True), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(axes())
def test_scaling_multiplies_the_rows(drawn):
    value, unit, width = drawn
    factors = torch.arange(1.0, width + 1)
    assert torch.equal(unit.rows(unit.scale(value, factors)), unit.rows(value) * factors[:, None])


def test_columns_of_one_output_lie_side_by_side():
    value = torch.arange(12).reshape(2, 6)  # two outputs read three units with two entries each
    reading = UnitAxis("", "weight", 1, "reads", each=2)
    assert reading.columns(value).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert reading.rows(value).tolist() == [[0, 6, 1, 7], [2, 8, 3, 9], [4, 10, 5, 11]]


def test_sections_hold_all_units_in_turn():
    packed = UnitAxis("", "in_proj_weight", 0, sections=3, each=1)
    assert packed.rows(torch.arange(6)[:, None]).tolist() == [[0, 2, 4], [1, 3, 5]]
    assert packed.spread(torch.tensor([7, 8])).tolist() == [7, 8, 7, 8, 7, 8]


def test_where_units_are_is_read_off_the_axes():
    heads = (UnitAxis("a", "weight", 0, each=4), UnitAxis("a.o", "weight", 1, "reads", each=4))
    block = Located("a", "attention", heads, activation_only=True)
    assert (block.incoming, block.outgoing, block.entries_per_unit, block.norm, block.channelwise) == (
        ("a",), "a.o", 4, None, (),
    )  # fmt: skip
    treated = Located("stream", "stream", STREAM)
    assert (treated.incoming, treated.outgoing) == (("embed", "down", "mix"), "up")
    assert (treated.norm, treated.channelwise) == ("norm", ())
    chained = Located("stream", "stream", STREAM, activation_only=True)
    assert (chained.norm, chained.channelwise) == (None, ("norm",))
    assert modules_of(STREAM, "reads") == ("up", "mix", "head")
    assert Located("gone", "conv", ()).outgoing == ""


def test_a_tensor_keeps_what_it_is_to_the_layer():
    net = small().float()
    net.embed.weight.requires_grad_(False)
    put_tensor(net, UnitAxis("embed", "weight", 0), torch.ones(2, 4).double())
    put_tensor(net, UnitAxis("norm", "running_mean", 0), torch.ones(2).double())
    assert isinstance(net.embed.weight, nn.Parameter)
    assert not net.embed.weight.requires_grad
    assert not isinstance(net.norm.running_mean, nn.Parameter)
    assert {t.dtype for t in (net.embed.weight, net.norm.running_mean)} == {torch.float32}
    assert "running_mean" in dict(net.norm.named_buffers())
    with pytest.raises(AttributeError, match="head has no tensor bias"):
        tensor_of(nn.ModuleDict({"head": nn.Linear(2, 2, bias=False)}), UnitAxis("head", "bias", 0))


def test_a_width_that_many_layers_share_is_permuted_without_a_change():
    net, order = small().eval(), torch.tensor([2, 0, 1])
    changed = copy.deepcopy(net)
    select_units(changed, STREAM, order)
    assert torch.equal(changed.mix.weight, net.mix.weight[order][:, order])
    assert torch.allclose(changed(X), net(X), rtol=1e-13)
    for left_out in range(len(STREAM)):
        broken = copy.deepcopy(net)
        select_units(broken, STREAM[:left_out] + STREAM[left_out + 1 :], order)
        assert not torch.allclose(broken(X), net(X), rtol=1e-3), STREAM[left_out]


def test_units_that_come_twice_count_one_half_for_all_that_read_them():
    net, order = small().eval(), torch.tensor([0, 1, 2, 1])
    shares = torch.tensor([1.0, 0.5, 1.0, 0.5])
    halved, whole = copy.deepcopy(net), copy.deepcopy(net)
    select_units(halved, STREAM, order, shares)
    select_units(whole, STREAM, order)
    assert halved.mix.weight.shape == (4, 4)
    assert torch.allclose(halved(X), net(X), rtol=1e-13)
    assert not torch.allclose(whole(X), net(X), rtol=1e-3)


def trained(model, optimizer, steps):
    targets = torch.stack([X[:, 0] * X[:, 1], X[:, 2].sin()], 1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model.train()(X) - targets).square().mean().backward()
        optimizer.step()
    return model.eval()(X).detach()


def adam(model):
    return torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)


def test_copies_of_a_shared_width_train_like_the_one_unit_that_stands_for_them():
    wide, slim = repeated()
    assert torch.allclose(slim.eval()(X), wide.eval()(X), rtol=1e-13)
    assert torch.equal(slim.mix.input_multiplicities, COUNTS)
    assert torch.equal(slim.mix.output_multiplicities, COUNTS)
    start = wide(X).detach()
    expected = trained(wide, adam(wide), 60)
    assert torch.allclose(trained(slim, adam(slim), 60), expected, rtol=1e-8)
    assert (expected - start).norm() > 0.1 * start.norm()
    plain = fold(repeated()[1])
    assert not torch.allclose(trained(plain, adam(plain), 60), expected, rtol=1e-3)


def test_copies_of_a_weight_between_copies_are_counted_on_both_sides():
    counts = copies_of(repeated()[1])
    assert torch.equal(counts["mix.weight"], COUNTS[:, None] * COUNTS)
    assert torch.equal(counts["embed.weight"], COUNTS[:, None])
    assert torch.equal(counts["head.weight"], COUNTS[None])
    assert torch.equal(counts["norm.bias"], COUNTS)
    assert set(counts).isdisjoint({"head.bias", "up.bias", "down.running_mean"})


def test_the_state_of_an_optimizer_goes_along_on_every_axis_of_a_shared_width():
    wide, slim = repeated()
    old = adam(wide)
    trained(wide, old, 20)
    trained(slim, adam(slim), 20)
    forgetful = copy.deepcopy(slim)
    new = transfer_optimizer(old, wide, slim)
    momentum = old.state[wide.mix.weight]["exp_avg"]
    assert torch.equal(new.state[slim.mix.weight]["exp_avg"], momentum[:3, :3])
    assert torch.equal(new.state[slim.up.bias]["exp_avg"], old.state[wide.up.bias]["exp_avg"])
    expected = trained(wide, old, 40)
    assert torch.allclose(trained(slim, new, 40), expected, rtol=1e-8)
    assert not torch.allclose(trained(forgetful, adam(forgetful), 40), expected, rtol=1e-4)


def test_a_shared_width_is_saved_and_loaded(tmp_path):
    slim = repeated()[1].eval()
    for model in (slim, fold(slim)):
        save(model, tmp_path / "slim")
        back = load(tmp_path / "slim", Stream(7).double().eval())
        assert torch.equal(back(X), model(X))
        assert (back.mix.in_features, back.mix.out_features, back.norm.num_features) == (3, 3, 3)
    with pytest.raises(ValueError, match="block stream of the file needs a layer embed with 7 neurons"):
        load(tmp_path / "slim", Stream(6).double())
