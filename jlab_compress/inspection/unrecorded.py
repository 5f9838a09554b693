"""Layers whose hidden units no recorded call tells apart: listed with the reason instead of left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
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


def closed_parts(model: nn.Module) -> list[Block]:
    """Return the parts of a model in a form in which no layer can be replaced, locked, each as a whole.

    Examples
    --------
    >>> net = nn.Sequential(torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2)), nn.ReLU())
    >>> [(part.name, part.kind) for part in closed_parts(net)]
    [('0', 'closed')]
    """
    found: list[Block] = []
    for name, module in model.named_modules():
        form, size = _form(module), sum(p.numel() for p in module.parameters())
        inside = any(not part.name or name.startswith(f"{part.name}.") for part in found)
        if form is not None and size and not inside:
            reason = (
                f"{name or 'the model'} is {form}, whose layers cannot be replaced; compress the module that "
                "it was made from"
            )
            found.append(Block(name, "closed", (), 0, 0, size, reason))
    return found


def _form(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module"
    nodes = module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ()
    exported = any(isinstance(node.target, torch._ops.OpOverload) for node in nodes)
    return "an exported program" if exported else None


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
