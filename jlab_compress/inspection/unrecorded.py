"""Layers whose hidden units no recorded call tells apart: listed with the reason instead of left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.inspection.examples import neighbours
from jlab_compress.inspection.locks import foreign, is_quantised
from jlab_compress.slim.surgery import is_conv1d

NOT_RUN = "the model did not run on made-up inputs; pass example_inputs to confirm the block"


@dataclass(frozen=True)
class Unseen:
    """Units of layer `name` that stay as they are, with m numbers for each, read by `outgoing`."""

    name: str
    kind: str
    width: int
    locked: str
    dimension: int = 0
    outgoing: str = ""


def unseen_layers(model: nn.Module) -> list[Unseen]:
    """Return a model's quantised, recurrent and transposed layers.

    Examples
    --------
    >>> [(u.name, u.width) for u in unseen_layers(nn.Sequential(nn.LSTM(3, 8), nn.ReLU()))]
    [('0', 8)]
    """
    found = []
    for name, module in model.named_modules():
        width: Any = getattr(module, "out_features", getattr(module, "out_channels", None))
        if is_quantised(module) and isinstance(width, int):
            found.append(Unseen(name, "mlp", width, foreign(name, module)))
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            found.append(Unseen(name, "recurrent", module.hidden_size, foreign(name, module)))
        elif isinstance(module, nn.modules.conv._ConvTransposeNd):
            found.append(Unseen(name, "conv", module.out_channels, foreign(name, module)))
    return found


def unconfirmed_layers(model: nn.Module) -> list[Unseen]:
    """Return pairs of neighbouring linear layers of a model that could not be run."""
    found = []
    for first, second in neighbours(model):
        maker, reader = model.get_submodule(first), model.get_submodule(second)
        wide: Any = maker.weight
        read: Any = reader.weight
        width = wide.shape[1] if is_conv1d(maker) else wide.shape[0]
        dimension = (wide.numel() + read.numel()) // width + (getattr(maker, "bias", None) is not None)
        found.append(Unseen(first, "mlp", width, NOT_RUN, dimension, second))
    return found
