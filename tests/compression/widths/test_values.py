import pytest
import torch

from jlab_compress import UnsupportedBlockError
from jlab_compress.compression.widths.values import block_named, open_blocks, read_width, rounded_up
from jlab_compress.inspection.block import Block, Blocks


def block(name, width=40, kind="mlp", locked=None, **more):
    return Block(name, kind, (), width, 4, 4 * width, locked, **more)


BLOCKS = Blocks((block("up"), block("gate", locked="it is shared"), block("heads", 6, opt_in="on request")))


@pytest.mark.parametrize(
    ("value", "round_to", "width"),
    [
        (7, 1, 7),
        (0.5, 1, 20),
        (0.01, 1, 1),
        ("polylog", 1, 28),
        (0.3, 8, 16),
        (0.99, 16, 40),
        (torch.tensor(5), 1, 5),
    ],
)
def test_a_value_is_a_number_of_units(value, round_to, width):
    assert read_width(value, BLOCKS[0], round_to=round_to) == width


def test_heads_are_not_rounded():
    heads = block("heads", 6, kind="attention")
    assert rounded_up(3, heads, 8) == 3
    assert rounded_up(3, BLOCKS[0], 8) == 8


def test_one_value_for_all_means_blocks_that_are_neither_locked_nor_opt_in():
    assert [b.name for b in open_blocks(BLOCKS)] == ["up"]
    with pytest.raises(
        UnsupportedBlockError, match=r"no block can be compressed \(gate: it is shared; heads: on request"
    ):
        open_blocks(Blocks(BLOCKS[1:]))


def test_a_locked_or_unknown_name_is_refused_with_the_nearest_one():
    assert block_named("heads", BLOCKS).width == 6
    with pytest.raises(UnsupportedBlockError, match="block gate: it is locked: it is shared"):
        block_named("gate", BLOCKS)
    with pytest.raises(ValueError, match="there is no block 'gates'; did you mean 'gate'"):
        block_named("gates", BLOCKS)
