"""Layers whose hidden units no recorded call tells apart: listed with the reason instead of left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from jlab_compress.inspection.block import Block
from jlab_compress.inspection.examples import neighbours
from jlab_compress.inspection.locks import foreign, is_quantised
from jlab_compress.slim.layers import matrix_of
from jlab_compress.slim.operators import units_of

NOT_RUN = "the model did not run on synthetic inputs; pass example_inputs to confirm the block"
UNREACHED = "no run reaches it, as no row is routed to it or another task uses it; pass inputs that do"


def unseen_layers(model: nn.Module) -> list[Block]:
    """Return a model's quantised, recurrent and transposed layers, locked.

    Examples
    --------
    >>> [(u.name, u.width) for u in unseen_layers(nn.Sequential(nn.LSTM(3, 8), nn.ReLU()))]
    [('0', 8)]
    """
    found = []
    for name, module in model.named_modules():
        width: Any = getattr(module, "out_features", getattr(module, "out_channels", None))
        if is_quantised(module) and isinstance(width, int):
            found.append(Block(name, "mlp", (), width, 0, 0, foreign(name, module)))
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            found.append(Block(name, "recurrent", (), module.hidden_size, 0, 0, foreign(name, module)))
        elif isinstance(module, nn.modules.conv._ConvTransposeNd):
            found.append(Block(name, "conv", (), module.out_channels, 0, 0, foreign(name, module)))
    return found


def unconfirmed_layers(model: nn.Module) -> list[Block]:
    """Return pairs of neighbouring linear layers of a model that could not be run, locked."""
    found = []
    for first, second in neighbours(model):
        maker, reader = model.get_submodule(first), model.get_submodule(second)
        rows, columns = matrix_of(maker), matrix_of(reader)
        width = len(rows)
        dimension = (rows.numel() + columns.numel()) // width + (getattr(maker, "bias", None) is not None)
        units = units_of(model, (first,), second, width)
        found.append(Block(first, "mlp", units, width, dimension, width * dimension, NOT_RUN))
    return found


def unreached_layers(model: nn.Module, parts: Mapping[str, str]) -> list[Block]:
    """Return pairs of neighbouring linear layers inside a part of a model that no run reaches, locked.

    Parameters
    ----------
    model : nn.Module
        The model.
    parts : mapping of str to str
        The parameters that no run reaches, each with its part.
    """
    found = []
    for block in unconfirmed_layers(model):
        first, last = (parts.get(f"{name}.weight") for name in (block.name, block.outgoing))
        if first is not None and first == last:
            found.append(replace(block, locked=UNREACHED))
    return found
