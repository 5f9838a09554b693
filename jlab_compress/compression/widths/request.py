"""What `widths` may say, turned into one number of neurons per block."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from jlab_compress.errors import UnsupportedBlockError
from jlab_compress.inspection.block import Block, Blocks

POLYLOG_FACTOR = 2.0
POLYLOG_POWER = 2.0


def read_widths(widths: Any, blocks: Blocks, *, round_to: int = 1) -> dict[str, int]:
    """Return the width wanted for each block that is to be compressed.

    Parameters
    ----------
    widths : int, float, str or mapping of str to these
        A number of neurons; a fraction of the present width in (0, 1); or "polylog" for
        c (ln n)^p neurons, rounded up, with c = p = 2. One value stands for every block that is not
        locked or `apart` (heads are); a mapping names blocks.
    blocks : Blocks
        From `find_blocks`.
    round_to : int
        Widths are multiples of this many neurons, or the present width: those that are not given as a
        number of neurons are rounded up. Attention heads are not rounded.

    Raises
    ------
    TypeError, ValueError
        If a width is not a number, not positive, above the present width or a number of neurons that is
        no multiple of `round_to`, or a block is unknown.
    UnsupportedBlockError
        If a named block is locked, or none is open.
    """
    if isinstance(widths, Mapping):
        if not widths:
            raise ValueError(f"widths: names no block; pass for example {{{_some_name(blocks)!r}: 0.5}}")
        return {
            name: read_width(value, block_named(name, blocks), round_to=round_to)
            for name, value in widths.items()
        }
    return {block.name: read_width(widths, block, round_to=round_to) for block in open_blocks(blocks)}


def open_blocks(blocks: Blocks) -> tuple[Block, ...]:
    """Return the blocks that one width for all means; UnsupportedBlockError where there is none."""
    if not blocks.meant:
        reasons = "; ".join(f"{b.name}: {b.locked or b.apart}" for b in blocks) or "it has no hidden neurons"
        raise UnsupportedBlockError(f"model: no block can be compressed ({reasons}); see find_blocks(model)")
    return blocks.meant


def _some_name(blocks: Blocks) -> str:
    return next((b.name for b in blocks.unlocked), "block")


def block_named(name: Any, blocks: Blocks) -> Block:
    """Return the block of that name that is not locked; errors as in `read_widths`."""
    try:
        block = blocks.named(name)
    except KeyError:
        near = difflib.get_close_matches(str(name), [b.name for b in blocks], n=1)
        names = f"did you mean {near[0]!r}?" if near else f"the model has {[b.name for b in blocks]}"
        raise ValueError(f"widths: there is no block {name!r}; {names}") from None
    if block.locked is not None:
        raise UnsupportedBlockError(f"block {name}: it is locked: {block.locked}; leave it out of widths")
    return block


def read_width(value: Any, block: Block, *, round_to: int = 1) -> int:
    """Return the number of neurons that one value means for one block; errors as in `read_widths`."""
    n: int = block.width
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str) and value == "polylog":
        return rounded_up(math.ceil(POLYLOG_FACTOR * math.log(n) ** POLYLOG_POWER), block, round_to)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= n:
            raise ValueError(
                f"widths: block {block.name} has {n} {block.noun}, so expected 1 to {n}, got {value}"
            )
        if rounded_up(value, block, round_to) != value:
            raise ValueError(
                f"widths: block {block.name}: {value} neurons are no multiple of round_to={round_to}; "
                f"pass {rounded_up(value, block, round_to)}, or a fraction, which is rounded up"
            )
        return int(value)
    if isinstance(value, float):
        if not 0 < value < 1:
            raise ValueError(
                f"widths: block {block.name}: expected a fraction between 0 and 1, got {value}; "
                "pass a whole number for a number of neurons"
            )
        return rounded_up(max(1, round(float(value) * n)), block, round_to)
    raise TypeError(
        f'widths: block {block.name}: expected a number of neurons, a fraction or "polylog", '
        f"got {value!r} ({type(value).__name__})"
    )


def rounded_up(width: int, block: Block, round_to: int) -> int:
    """Return the next multiple of `round_to` neurons, at most the block's width; heads as they are."""
    multiple = 1 if block.kind == "attention" else round_to
    return int(min(block.width, -(-width // multiple) * multiple))


def check_round_to(value: Any) -> int:
    """Return the multiple, or refuse what is no positive whole number with a TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"round_to: expected a whole number of neurons such as 64, got {value!r}")
    if value < 1:
        raise ValueError(f"round_to: expected a positive number of neurons such as 64, got {value}")
    return value
