"""Slim models without multiplicities: their roots go into the parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from jlab_compress.fitting.layer import Layer, is_homogeneous
from jlab_compress.inspection.block import Block


def plain_gauge(layer: Layer) -> Layer:
    """Return the layer with c = 1 and theta_j times sqrt(c_j), for positively homogeneous activations."""
    return layer.regauged(torch.ones_like(layer.multiplicities))


def check_plain(blocks: Iterable[Block]) -> None:
    """Refuse blocks whose multiplicities must stay, with a ValueError that says why."""
    for block in blocks:
        if block.norm is not None:
            raise ValueError(
                f"plain: block {block.name} has the batch norm {block.norm}, which undoes any scale of its "
                "neurons, so their multiplicities must stay; pass plain=False"
            )
        if block.activation_only:
            what = "attention heads" if block.kind == "attention" else "channels with layers between"
            raise ValueError(
                f"plain: block {block.name} holds {what}, whose multiplicities must stay; pass plain=False"
            )
        if len(block.incoming) > 1 or block.activation is None or not is_homogeneous(block.activation):
            raise ValueError(
                f"plain: block {block.name} has the activation {block.activation_name}, for which "
                "act(t a) = t act(a) does not hold, so its multiplicities must stay; pass plain=False"
            )
