"""What one width may say, turned into a number of units of one block."""

from __future__ import annotations

import difflib
import math
from typing import Any

from jlab_compress.errors import UnsupportedBlockError
from jlab_compress.inspection.block import Block, Blocks

POLYLOG = "polylog"
POLYLOG_FACTOR = 2.0
POLYLOG_POWER = 2.0


def read_widths(value: Any, blocks: Blocks, *, round_to: int = 1) -> dict[str, int]:
    """Return the width that one value means for every block that is neither locked nor opt-in.

    Errors as in `read_width`; UnsupportedBlockError where there is no such block.
    """
    return {block.name: read_width(value, block, round_to=round_to) for block in open_blocks(blocks)}


def open_blocks(blocks: Blocks) -> tuple[Block, ...]:
    """Return the blocks that one width for all means; UnsupportedBlockError where there is none."""
    if not blocks.by_default:
        reasons = "; ".join(f"{b.name}: {b.locked or b.opt_in}" for b in blocks) or "it has no hidden neurons"
        raise UnsupportedBlockError(f"model: no block can be compressed ({reasons}); see find_blocks(model)")
    return blocks.by_default


def block_named(name: Any, blocks: Blocks) -> Block:
    """Return the block of that name.

    Raises
    ------
    ValueError
        If there is none.
    UnsupportedBlockError
        If it is locked.
    """
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
    """Return the number of units that one value means for one block.

    Parameters
    ----------
    value : int, float or "polylog"
        A number of units; a fraction of the present width in (0, 1); or c (ln n)^p units, rounded up, with
        c = p = 2.
    block : Block
        With n units.
    round_to : int
        The width is a multiple of this many units, or the present width: one that is not given as a number of
        units is rounded up. Attention heads are not rounded.

    Raises
    ------
    TypeError, ValueError
        If the value is something else, not positive, above the present width or a number of units that is no
        multiple of `round_to`.

    Examples
    --------
    >>> block = Block("0", "mlp", (), 1024, 8, 8192, None)
    >>> [read_width(value, block) for value in (64, 0.25, "polylog")]
    [64, 256, 97]
    """
    n: int = block.width
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str) and value == POLYLOG:
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
