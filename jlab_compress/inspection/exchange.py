"""Read and write a block whatever its kind: neurons, channels or heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Layer
from jlab_compress.slim.recorded import read_recorded, write_recorded
from jlab_compress.slim.surgery import read_layer, write_layer

if TYPE_CHECKING:
    from jlab_compress.inspection.block import Block


def read_block(model: nn.Module, block: Block) -> Layer:
    """Return the objects of a block of `model`; see `read_layer` and `read_recorded`."""
    if block.recorded:
        return read_recorded(model, block, block.width)
    return read_layer(
        model,
        block.incoming,
        block.outgoing,
        block.activation or torch.relu,
        norm=block.norm,
        repeat=block.repeat,
    )


def write_block(
    model: nn.Module,
    block: Block,
    layer: Layer,
    *,
    indices: Tensor | None = None,
    inputs: Tensor | None = None,
) -> None:
    """Put objects in the place of a block's, in place; see `write_layer` and `write_recorded`."""
    if block.recorded:
        write_recorded(model, block, layer, block.width)
        return
    place, form = (model, block.incoming, block.outgoing), (block.norm, block.repeat)
    write_layer(*place, layer, norm=form[0], repeat=form[1], indices=indices, inputs=inputs)
