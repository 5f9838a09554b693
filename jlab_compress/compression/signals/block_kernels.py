"""Slim blocks beside the blocks that they stand for: do gradients move them alike?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.backward import Run
from jlab_compress.fitting.kernels.row_gram import gram_of, send_back, squared_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import columns_of, input_scale
from jlab_compress.slim.operators import is_conv1d
from jlab_compress.slim.surgery import read_layer


@dataclass(frozen=True)
class Pair:
    """A block of the original and its slim form, whose parameters stay where the slim model has them.

    Parameters
    ----------
    block : Block
        Linear layers with neurons between them.
    wide : Layer
        The original's, in float32.
    slim : nn.Module
        The slim model.
    logs : Tensor (s,)
        Up to a constant the logarithms of the multiplicities, free to move; their sum stays n.
    """

    block: Block
    wide: Layer
    slim: nn.Module
    logs: Tensor

    @staticmethod
    def read(original: nn.Module, slim: nn.Module, block: Block) -> Pair | None:
        """Return the pair, or None where the two do not read and write the same features."""
        if block.kind not in ("mlp", "gated-mlp") or block.activation_only or block.norm or block.repeat > 1:
            return None
        wide = read_layer(original, block, block.activation).to(torch.float32)
        reader: Any = slim.get_submodule(block.outgoing)
        counted = getattr(reader, "input_multiplicities", None)
        counts = torch.ones(len(columns_of(reader))) if counted is None else counted
        pair = Pair(block, wide, slim, counts.to(wide.outgoing).log().requires_grad_())
        narrow = pair.layer()
        alike = narrow.incoming[0].shape[1], narrow.outgoing.shape[1]
        return pair if alike == (wide.incoming[0].shape[1], wide.outgoing.shape[1]) else None

    @property
    def counted(self) -> Tensor | None:
        """The multiplicities (s,) in the slim model, or None where each neuron counts once."""
        reader: Any = self.slim.get_submodule(self.block.outgoing)
        found: Tensor | None = getattr(reader, "input_multiplicities", None)
        return found

    @property
    def multiplicities(self) -> Tensor:
        """The multiplicities (s,) as they are to be."""
        if self.counted is None:
            return torch.ones_like(self.logs)
        return self.logs.softmax(dim=0) * self.counted.sum().to(self.logs)

    def layer(self) -> Layer:
        """Return the slim layer in float32, with a graph to its parameters and multiplicities."""
        makers: list[Any] = [self.slim.get_submodule(name) for name in self.block.incoming]
        reader: Any = self.slim.get_submodule(self.block.outgoing)
        outgoing = (reader.weight if is_conv1d(reader) else reader.weight.T).float()
        counts = self.multiplicities
        if self.counted is not None:
            outgoing = outgoing * (self.counted.to(counts) / counts)[:, None]
        rows = tuple(_scaled((m.weight.T if is_conv1d(m) else m.weight).float(), m) for m in makers)
        biases = tuple(None if m.bias is None else m.bias.float() for m in makers)
        form = {"incoming": rows, "biases": biases, "outgoing": outgoing, "outgoing_bias": None}
        return replace(self.wide, multiplicities=counts, **form)

    def errors(self, found: Run, wanted: Run, draw: torch.Generator, *, kernels: bool) -> list[Tensor]:
        """Return the squared relative errors of backward signals, and of kernels, at some rows."""
        name = self.block.name
        if name not in wanted.cotangents or name not in wanted.inputs:
            return []
        rows = wanted.picked(name, draw)
        cotangents, layer = wanted.cotangents[name][rows].float(), self.layer()
        maker = self.slim.get_submodule(self.block.incoming[0])
        mine, theirs = (_scaled(run.inputs[name][rows].float(), maker) for run in (found, wanted))
        sent = send_back(layer, mine, cotangents), send_back(self.wide, theirs, cotangents)
        errors = [squared_error(*sent)]
        if kernels:
            errors += gram_of(layer, mine, cotangents).errors(gram_of(self.wide, theirs, cotangents))
        return errors

    @torch.no_grad()
    def recount(self) -> None:
        """Give the slim model the multiplicities, in place; its function stays."""
        if self.counted is None:
            return
        reader: Any = self.slim.get_submodule(self.block.outgoing)
        new = self.multiplicities.to(self.counted)
        ratio = self.counted / new
        reader.weight.mul_(ratio[:, None] if is_conv1d(reader) else ratio)
        self.counted.copy_(new)
        for name in self.block.incoming:
            maker: Any = self.slim.get_submodule(name)
            maker.output_multiplicities.copy_(new)


def pairs_of(original: nn.Module, slim: nn.Module, blocks: Sequence[Block]) -> list[Pair]:
    """Return the pairs of those blocks that have one."""
    found = [Pair.read(original, slim, block) for block in blocks]
    return [pair for pair in found if pair is not None]


def _scaled(values: Tensor, maker: nn.Module) -> Tensor:
    scale = input_scale(maker)
    return values if scale is None else values * scale.to(values)
