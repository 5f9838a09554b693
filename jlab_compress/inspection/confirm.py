"""Confirm blocks by running a copy of the model with their units permuted and split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import difference, tolerance
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.inspection.block import Block
from jlab_compress.inspection.examples import fault_of
from jlab_compress.slim.conversion import count_units
from jlab_compress.slim.surgery import open_layers, select_units, settle

# Blocks with their place among all, by which each is permuted and split in its own way: blocks that
# depend on one another's order or number must not pass together because they change alike.
Numbered = Sequence[tuple[int, Block]]
Change = Callable[[nn.Module, Block, int], None]

_EXAMPLES = {"heads": "a bias or mask for each head, attention weights that are returned, a fixed size"}
_EXAMPLE = "a norm or mean over the width, a fixed size"


def confirmed(model: nn.Module, call: Call, blocks: Sequence[Block], expected: list[Tensor]) -> list[Block]:
    """Return the blocks, those locked that change the model's outputs, `expected`, when permuted or split.

    Notes
    -----
    Costs one copy of the model, and two runs where all is well; a block to be locked costs at most
    2 ceil(log2 k) more among k, and all together at most 2 k - 2 more for each of the two changes.
    """
    reasons: dict[str, str] = {}
    scratch = copy_model(model) if any(b.locked is None for b in blocks) else model
    for change, words in ((permute, "permuted"), (split, "split in two")):
        free = [(i, b) for i, b in enumerate(blocks) if b.locked is None and b.name not in reasons]
        reasons |= _blamed(free, partial(_reaction, scratch, call, expected, change, words))
    return [replace(block, locked=block.locked or reasons.get(block.name)) for block in blocks]


def _blamed(blocks: Numbered, reaction: Callable[[Numbered], str | None]) -> dict[str, str]:
    """Return the blocks that react alone, with their reason, by halving each group that reacts together."""
    reason = reaction(blocks) if blocks else None
    if reason is None:
        return {}
    if len(blocks) == 1:
        return {blocks[0][1].name: reason}
    middle = len(blocks) // 2
    return _blamed(blocks[:middle], reaction) | _blamed(blocks[middle:], reaction)


def _reaction(
    scratch: nn.Module, call: Call, expected: list[Tensor], change: Change, words: str, blocks: Numbered
) -> str | None:
    """Return what one run with these blocks' units changed shows, or None where the outputs stay."""
    nouns = {block.noun for _, block in blocks}
    units = nouns.pop() if len(nouns) == 1 else "neurons"
    try:
        with restored(scratch):
            for number, block in blocks:
                change(scratch, block, number)
            with undisturbed(scratch):
                got = outputs_of(call(scratch))
    except Exception as error:
        raise_lack_of_memory(error)
        if len(blocks) == 1 and (fault := fault_of(scratch, call)) is not None:
            return (
                f"a run to confirm it failed, and so did the unchanged model ({in_words(fault)}); try again"
            )
        return f"the model fails when its {units} are {words} ({in_words(error)})"
    if difference(got, expected) > tolerance(*(t.dtype for t in expected)):
        return (
            f"the model's outputs change when its {units} are {words}, so something depends on "
            f"their order or number ({_EXAMPLES.get(units, _EXAMPLE)})"
        )
    return None


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Put classes and attributes of all modules back afterwards, and values of buffers.

    Parameters that were replaced are the old ones again; nothing may write into a parameter.
    """
    before = Snapshot.of(model)
    values = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        before.put_back()
        with torch.no_grad():
            for buffer, version, value in values:
                if buffer._version != version:
                    buffer.copy_(value)


def permute(model: nn.Module, block: Block, number: int) -> None:
    """Put a block's units in another order, in place; `number` draws it."""
    order = torch.randperm(block.width, generator=torch.Generator().manual_seed(1 + number))
    if torch.equal(order, torch.arange(block.width)):
        order = order.roll(1)
    open_layers(model, block)
    select_units(model, block.units, order)
    settle(model, block, block.width, block.width)


def split(model: nn.Module, block: Block, number: int) -> None:
    """Let some of a block's units come twice, each counting one half, in place; `number` draws them.

    Halves are multiplicities where only a run tells what a unit gives, as attention weights are averaged over
    heads; else they are in the columns of what reads the units.
    """
    generator = torch.Generator().manual_seed(2 + number)
    third = (block.width + 2) // 3
    twice = torch.randperm(block.width, generator=generator)[: third + number % third]
    shares = torch.ones(block.width)
    shares[twice] = 0.5
    order = torch.cat([torch.arange(block.width), twice])
    open_layers(model, block)
    select_units(model, block.units, order, None if block.activation_only else shares[order])
    if block.activation_only:
        count_units(model, block, shares[order])
    settle(model, block, block.width, len(order))
