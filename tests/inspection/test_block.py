"""Blocks as plain values, and lists of them."""

import pickle

import pytest
import torch

from jlab_compress.graph.residual import Residual
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.slim.units import UnitAxis

AXES = (UnitAxis("up", "weight", 0), UnitAxis("down", "weight", 1, "reads", each=3))


def block(name="up", **changes):
    return Block(name, "mlp", AXES, 8, 10, 80, changes.pop("locked", None), **changes)


def test_what_follows_from_the_axes_is_not_said_twice():
    made = block()
    assert (made.incoming, made.outgoing, made.entries_per_unit) == (("up",), "down", 3)
    fields = {"incoming", "outgoing", "norm", "chain", "repeat", "sections"}
    assert fields.isdisjoint(Block.__dataclass_fields__)


def test_blocks_are_equal_by_what_they_say_and_not_by_their_activation():
    assert block(activation=torch.relu) == block(activation=torch.tanh)
    assert block(residual=Residual("norm", True)) != block()
    assert pickle.loads(pickle.dumps(block(activation=torch.relu))) == block()


def test_units_have_a_noun():
    assert block().noun == "neurons"
    assert block(noun="heads").noun == "heads"


def test_a_list_of_blocks_knows_which_are_open_and_meant():
    blocks = Blocks(
        (block("a"), block("b", locked="tied"), block("c", opt_in="fixed"), block("d", opt_in="fixed"))
    )
    assert [b.name for b in blocks.unlocked] == ["a", "c", "d"]
    assert [b.name for b in blocks.by_default] == ["a"]
    assert blocks.left_out == ("c, d: fixed.",)
    assert blocks.named("b").locked == "tied"
    with pytest.raises(KeyError, match="gone"):
        blocks.named("gone")


def test_its_table_has_a_row_for_each_block_and_the_reasons():
    report = Blocks((block("a", macs=12, activation_name="relu"), block("b", locked="tied"))).report
    (table,) = report.tables
    assert table.rows == (
        ("a", "mlp", "relu", 8, 10, 80, 12, None),
        ("b", "mlp", "unknown", 8, 10, 80, None, "tied"),
    )
    assert "1 of 2 blocks can be compressed" in report.summary
