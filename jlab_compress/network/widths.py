"""What `widths` may say, turned into one number of neurons per block."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from jlab_compress.errors import UnsupportedBlockError
from jlab_compress.network.blocks import Block, Blocks

POLYLOG_FACTOR = 2.0
POLYLOG_POWER = 2.0


def read_widths(widths: Any, blocks: Blocks) -> dict[str, int]:
    """Return the width wanted for each block that is to be compressed.

    Parameters
    ----------
    widths : int, float, str or mapping of str to these
        A number of neurons; a fraction of the present width in (0, 1); or "polylog" for
        c (ln n)^p neurons, rounded up, with c = p = 2. One value stands for every block that is not
        locked; a mapping names blocks.
    blocks : Blocks
        From `find_blocks`.

    Raises
    ------
    TypeError, ValueError
        If a width is not a number, not positive or above the present width, or a block is unknown.
    UnsupportedBlockError
        If a named block is locked, or none is open.
    """
    if isinstance(widths, Mapping):
        if not widths:
            raise ValueError(f"widths: names no block; pass for example {{{_some_name(blocks)!r}: 0.5}}")
        return {name: read_width(value, _block(name, blocks)) for name, value in widths.items()}
    if not blocks.unlocked:
        reasons = "; ".join(f"{b.name}: {b.locked}" for b in blocks) or "it has no hidden neurons"
        raise UnsupportedBlockError(f"model: no block can be compressed ({reasons}); see find_blocks(model)")
    return {block.name: read_width(widths, block) for block in blocks.unlocked}


def _some_name(blocks: Blocks) -> str:
    return next((b.name for b in blocks.unlocked), "block")


def _block(name: Any, blocks: Blocks) -> Block:
    try:
        block = blocks.named(name)
    except KeyError:
        near = difflib.get_close_matches(str(name), [b.name for b in blocks], n=1)
        names = f"did you mean {near[0]!r}?" if near else f"the model has {[b.name for b in blocks]}"
        raise ValueError(f"widths: there is no block {name!r}; {names}") from None
    if block.locked is not None:
        raise UnsupportedBlockError(f"block {name}: it is locked: {block.locked}; leave it out of widths")
    return block


def read_width(value: Any, block: Block) -> int:
    """Return the number of neurons that one value means for one block; errors as in `read_widths`."""
    n: int = block.width
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str) and value == "polylog":
        wanted: int = math.ceil(POLYLOG_FACTOR * math.log(n) ** POLYLOG_POWER)
        return min(n, wanted)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= n:
            raise ValueError(f"widths: block {block.name} has {n} neurons, so expected 1 to {n}, got {value}")
        return int(value)
    if isinstance(value, float):
        if not 0 < value < 1:
            raise ValueError(
                f"widths: block {block.name}: expected a fraction between 0 and 1, got {value}; "
                "pass a whole number for a number of neurons"
            )
        return max(1, round(float(value) * n))
    raise TypeError(
        f'widths: block {block.name}: expected a number of neurons, a fraction or "polylog", '
        f"got {value!r} ({type(value).__name__})"
    )
