"""Gradients of one layer's parameters at single rows, in one backward pass of a whole network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.compression.signals.capture import looked_at, patches, rows_of
from jlab_compress.execution.calls import Call
from jlab_compress.slim.layers import input_scale, is_conv

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# In one batch at most so many positions of a filter are looked at: as many in both models.
MOST_SEEN = 2**13
# What is sent back beyond rounding, as a share of the most that is sent to any row.
FAINT = 1e-6


@dataclass(frozen=True)
class Side:
    """One linear layer in one run.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        What enters it, times the roots of the multiplicities that it reads.
    cotangents : Tensor (q, n_out)
        The gradient of some sum of the model's outputs at what leaves it, over the roots of the
        multiplicities that it makes: so both have the inner products of the copies that neurons stand for.
    biased : bool
        Whether it has a bias.
    """

    inputs: Tensor
    cotangents: Tensor
    biased: bool

    @property
    def alive(self) -> Tensor:
        """The rows to which something is sent back."""
        return _alive(self.cotangents)

    def kernel(self, rows: Tensor) -> Tensor:
        """Return the inner products of the layer's gradients at some rows."""
        inputs, cotangents = self.inputs[rows], self.cotangents[rows]
        overlaps = inputs @ inputs.T
        return (overlaps + 1 if self.biased else overlaps) * (cotangents @ cotangents.T)


@dataclass(frozen=True)
class SharedSide:
    """A layer that uses the same parameters at many positions of a row: a convolution or a batch norm.

    Parameters
    ----------
    gradients : Tensor (q, p)
        The gradient of its parameters, summed over a row's positions, with the same roots as in a `Side`.
    """

    gradients: Tensor

    @property
    def alive(self) -> Tensor:
        """The rows to which something is sent back."""
        return _alive(self.gradients)

    def kernel(self, rows: Tensor) -> Tensor:
        """Return the inner products of the layer's gradients at some rows."""
        gradients = self.gradients[rows]
        return gradients @ gradients.T


def _alive(rows: Tensor) -> Tensor:
    sizes = rows.detach().abs().sum(dim=1)
    return (sizes > FAINT * sizes.max()).nonzero()[:, 0]


def side_of(module: Any, inputs: Tensor, cotangents: Tensor, call: Call) -> Side | SharedSide:
    """Return a layer's side of a run.

    Parameters
    ----------
    module : nn.Module
        A linear layer, a convolution or a batch norm.
    inputs, cotangents : Tensor
        What enters it, and the gradient of some sum of the outputs at what leaves it.
    call : Call
        Says which positions are padding.
    """
    counts = getattr(module, "output_multiplicities", None)
    if isinstance(module, BATCH_NORMS):
        return SharedSide(_norm_gradients(module, inputs, cotangents, counts))
    scale = input_scale(module)
    if is_conv(module):
        return SharedSide(_filter_gradients(module, inputs, cotangents, scale, counts))
    inputs = inputs if scale is None else inputs * scale
    cotangents = cotangents if counts is None else cotangents / counts.sqrt()
    return Side(rows_of(inputs, call), rows_of(cotangents, call), module.bias is not None)


def _filter_gradients(
    conv: Any, images: Tensor, cotangents: Tensor, scale: Tensor | None, counts: Tensor | None
) -> Tensor:
    sent = _positions_last(cotangents, len(conv.kernel_size))
    most = max(1, MOST_SEEN // len(sent))
    seen = patches(conv, images, most=most)
    seen = seen if scale is None else seen * scale
    seen = seen if conv.bias is None else F.pad(seen, (0, 1), value=1.0)
    sent = sent[:, :, looked_at(sent.shape[2], most).to(sent.device)]
    sent = sent if counts is None else sent / counts.sqrt()[:, None]
    return (sent @ seen).flatten(1)


def _norm_gradients(norm: Any, inputs: Tensor, cotangents: Tensor, counts: Tensor | None) -> Tensor:
    shape = [1, -1, *[1] * (inputs.dim() - 2)]
    spread = (norm.running_var + norm.eps).sqrt().view(shape)
    normed = (inputs - norm.running_mean.view(shape)) / spread
    parts = [
        (cotangents * part).flatten(2).sum(dim=2) if part.dim() > 2 else cotangents * part
        for part in (normed, torch.ones_like(normed))
    ]
    scaled = [part if counts is None else part / counts.sqrt() for part in parts]
    return torch.cat(scaled, dim=1)


def _positions_last(values: Tensor, spatial: int) -> Tensor:
    """Return (channels, *positions) or (rows, channels, *positions) as (rows, channels, positions)."""
    batch = values if values.dim() == spatial + 2 else values.unsqueeze(0)
    return batch.flatten(2)
