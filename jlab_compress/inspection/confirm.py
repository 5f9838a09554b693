"""Confirm blocks by running the model with their neurons permuted and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jlab_compress.errors import in_words
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import difference, tolerance
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.fitting.layer import Layer
from jlab_compress.inspection.exchange import read_block, write_block
from jlab_compress.slim.recorded import no_activation

if TYPE_CHECKING:
    from jlab_compress.inspection.block import Block

    # Blocks with their place among all, by which each is permuted and split in its own way: blocks that
    # depend on one another's order or number must not pass together because they change alike.
    Numbered = list[tuple[int, Block]]
    Change = Callable[[Layer, int], tuple[Layer, Tensor]]


_EXAMPLES = {
    "heads": "a bias or mask for each head, attention weights that are returned, a fixed size",
    "hidden neurons": "a norm or mean over the width, a fixed size",
}


def confirmed(model: nn.Module, call: Call, blocks: list[Block]) -> list[Block]:
    """Return the blocks, those locked that change the model's outputs when permuted or split.

    Notes
    -----
    Costs three runs where all is well; a block to be locked costs at most 2 ceil(log2 k) more among k, and
    all together at most 2 k - 2 more for each of the two changes.
    """
    with undisturbed(model):
        expected = outputs_of(call(model))
    reasons: dict[str, str] = {}
    for change, words in ((_permutation, "permuted"), (_splitting, "split in two")):
        free = [(i, b) for i, b in enumerate(blocks) if b.locked is None and b.name not in reasons]

        def reaction(group: Numbered, change: Change = change, words: str = words) -> str | None:
            return _reaction(model, call, group, expected, change=change, words=words)

        reasons |= _blamed(free, reaction)
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
    model: nn.Module, call: Call, blocks: Numbered, expected: list[Tensor], *, change: Change, words: str
) -> str | None:
    """Return what one run with these blocks' neurons changed shows, or None where the outputs stay."""
    changed = copy_model(model)
    units = "heads" if all(block.kind == "attention" for _, block in blocks) else "hidden neurons"
    try:
        for number, block in blocks:
            layer, indices = change(read_block(changed, block), number)
            write_block(changed, block, layer, indices=indices)
        with undisturbed(changed):
            got = outputs_of(call(changed))
    except Exception as error:
        return f"the model fails when its {units} are {words} ({in_words(error)})"
    if difference(got, expected) > tolerance(*(t.dtype for t in expected)):
        return (
            f"the model's outputs change when its {units} are {words}, so something depends on "
            f"their order or number ({_EXAMPLES[units]})"
        )
    return None


def _permutation(layer: Layer, number: int) -> tuple[Layer, Tensor]:
    order = torch.randperm(layer.width, generator=torch.Generator().manual_seed(1 + number))
    if torch.equal(order, torch.arange(layer.width)):
        order = order.roll(1)
    return layer.select(order), order


def _splitting(layer: Layer, number: int) -> tuple[Layer, Tensor]:
    generator = torch.Generator().manual_seed(2 + number)
    third = (layer.width + 2) // 3
    twice = torch.randperm(layer.width, generator=generator)[: third + number % third]
    share = torch.ones(layer.width, dtype=layer.outgoing.dtype)
    share[twice] = 0.5
    order = torch.cat([torch.arange(layer.width), twice])
    if layer.activation is no_activation:
        return replace(layer, multiplicities=share.to(layer.multiplicities)).select(order), order
    halved = replace(layer, outgoing=layer.outgoing * share.to(layer.outgoing)[:, None])
    return halved.select(order), order
