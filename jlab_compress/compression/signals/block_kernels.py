"""A slim block beside the block that it stands for: does gradient descent move the two alike?

Both are looked at with the gradients that the original back-propagates to the block, so nothing is
differentiated twice, which torch's fused attention does not allow. Kernels of a whole network
(`layer_kernels`) cannot be matched there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.backward import Signals
from jlab_compress.fitting.kernels.block_kernel import back_propagate, block_kernel
from jlab_compress.fitting.kernels.row_kernels import squared_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import columns_of, input_scale, read_layer
from jlab_compress.slim.operators import is_conv1d
from jlab_compress.slim.units import stored_tensor


@dataclass(frozen=True)
class BlockPair:
    """A block of the original that can be compared with its slim form.

    Parameters
    ----------
    block : Block
        Linear layers with neurons between them.
    wide : Layer
        The original's, in float32.
    logs : Tensor (s,)
        The logarithms of the slim block's multiplicities, up to a constant; a leaf that an optimizer may
        move. The multiplicities themselves keep their sum.
    """

    block: Block
    wide: Layer
    logs: Tensor


def pair_blocks(original: nn.Module, slim: nn.Module, blocks: Sequence[Block]) -> list[BlockPair]:
    """Return the pairs of those blocks whose two forms read and write the same features."""
    found = (_pair(original, slim, block) for block in blocks)
    return [pair for pair in found if pair is not None]


def _pair(original: nn.Module, slim: nn.Module, block: Block) -> BlockPair | None:
    if (
        block.kind not in ("mlp", "gated-mlp")
        or block.activation_only
        or block.norm
        or block.entries_per_unit > 1
    ):
        return None
    wide = read_layer(original, block, block.activation).to(torch.float32)
    counted = _counted(slim, block)
    counts = torch.ones(len(columns_of(slim.get_submodule(block.outgoing)))) if counted is None else counted
    pair = BlockPair(block, wide, counts.to(wide.outgoing).log().requires_grad_())
    narrow = slim_layer(slim, pair)
    alike = narrow.incoming[0].shape[1], narrow.outgoing.shape[1]
    return pair if alike == (wide.incoming[0].shape[1], wide.outgoing.shape[1]) else None


def multiplicities_of(slim: nn.Module, pair: BlockPair) -> Tensor:
    """Return the multiplicities (s,) that a pair's logarithms stand for; ones where neurons are single."""
    counted = _counted(slim, pair.block)
    if counted is None:
        return torch.ones_like(pair.logs)
    return pair.logs.softmax(dim=0) * counted.sum().to(pair.logs)


def slim_layer(slim: nn.Module, pair: BlockPair) -> Layer:
    """Return the slim block in float32, with a graph to its parameters in the model and to its logarithms."""
    block, counted, counts = pair.block, _counted(slim, pair.block), multiplicities_of(slim, pair)
    makers: list[Any] = [slim.get_submodule(name) for name in block.incoming]
    reader: Any = slim.get_submodule(block.outgoing)
    outgoing = stored_tensor(reader, "weight")
    outgoing = (outgoing if is_conv1d(reader) else outgoing.T).float()
    if counted is not None:
        outgoing = outgoing * (counted.to(counts) / counts)[:, None]
    return replace(
        pair.wide,
        incoming=tuple(_scaled(_rows(m).float(), m) for m in makers),
        biases=tuple(None if m.bias is None else m.bias.float() for m in makers),
        outgoing=outgoing,
        outgoing_bias=None,
        multiplicities=counts,
    )


def block_errors(
    slim: nn.Module, pair: BlockPair, found: Signals, wanted: Signals, draw: torch.Generator, *, kernels: bool
) -> list[Tensor]:
    """Return squared relative errors of a slim block at some rows that the original's gradients reach.

    Parameters
    ----------
    slim : nn.Module
        The slim model.
    pair : BlockPair
        The block's two forms.
    found, wanted : Signals
        Of the slim model and of the original on one call, the latter with cotangents.
    draw : torch.Generator
        Draws the rows.
    kernels : bool
        Whether the two parts of the block's tangent kernel follow the gradients that it back-propagates.
    """
    name = pair.block.name
    if name not in wanted.cotangents or name not in wanted.inputs:
        return []
    rows = wanted.picked(name, draw)
    cotangents, layer = wanted.cotangents[name][rows].float(), slim_layer(slim, pair)
    maker = slim.get_submodule(pair.block.incoming[0])
    mine, theirs = (_scaled(signals.inputs[name][rows].float(), maker) for signals in (found, wanted))
    sent = back_propagate(layer, mine, cotangents), back_propagate(pair.wide, theirs, cotangents)
    errors = [squared_error(*sent)]
    if kernels:
        errors += block_kernel(layer, mine, cotangents).errors(block_kernel(pair.wide, theirs, cotangents))
    return errors


@torch.no_grad()
def write_multiplicities(slim: nn.Module, pair: BlockPair) -> None:
    """Give the slim model the multiplicities of a pair's logarithms, in place; its function stays."""
    counted = _counted(slim, pair.block)
    if counted is None:
        return
    reader: Any = slim.get_submodule(pair.block.outgoing)
    new = multiplicities_of(slim, pair).to(counted)
    ratio = counted / new
    stored_tensor(reader, "weight").mul_(ratio[:, None] if is_conv1d(reader) else ratio)
    counted.copy_(new)
    for name in pair.block.incoming:
        maker: Any = slim.get_submodule(name)
        maker.output_multiplicities.copy_(new)


def _counted(slim: nn.Module, block: Block) -> Tensor | None:
    reader: Any = slim.get_submodule(block.outgoing)
    found: Tensor | None = getattr(reader, "input_multiplicities", None)
    return found


def _rows(maker: nn.Module) -> Tensor:
    weight = stored_tensor(maker, "weight")
    return weight.T if is_conv1d(maker) else weight


def _scaled(values: Tensor, maker: nn.Module) -> Tensor:
    scale = input_scale(maker)
    return values if scale is None else values * scale.to(values)
