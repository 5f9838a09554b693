"""Gradients of one layer's parameters at single rows, read off one backward pass of a whole network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.compression.signals.positions import looked_at, patches, rows_of
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.kernels.row_kernels import inner_products, linear_kernel
from jlab_compress.slim.layers import input_scale
from jlab_compress.slim.weighted import is_conv

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# At most so many positions of a filter in one batch are looked at, the same ones in both models.
MOST_SEEN = 2**13
# Gradients below this share of the largest one of any row are rounding.
FAINT = 1e-6


@dataclass(frozen=True)
class FactoredGradients:
    """A linear layer's gradients, each the outer product of a cotangent and an input.

    A slim neuron counts c times. Its inputs to the next layer are multiplied by sqrt(c), and the gradients of
    its own parameters divided by sqrt(c), so that inner products are those of the wide layer in which every
    neuron is there c times.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        The layer's inputs, times the roots of their multiplicities.
    cotangents : Tensor (q, n_out)
        The gradient of a random sum of the model's outputs with respect to the layer's outputs, over the
        roots of their multiplicities.
    biased : bool
        Whether the layer has a bias.
    """

    inputs: Tensor
    cotangents: Tensor
    biased: bool

    @property
    def reached(self) -> Tensor:
        """The rows whose gradient is not zero."""
        return _reached(self.cotangents)

    def kernel(self, rows: Tensor) -> Tensor:
        """Return the inner products of the layer's gradients at some rows."""
        return linear_kernel(self.inputs[rows], self.cotangents[rows], biased=self.biased)


@dataclass(frozen=True)
class SummedGradients:
    """Gradients of a layer that uses its parameters at many positions of a row: a convolution, a batch norm.

    Parameters
    ----------
    gradients : Tensor (q, p)
        Summed over a row's positions, with the same roots of multiplicities as in `FactoredGradients`.
    """

    gradients: Tensor

    @property
    def reached(self) -> Tensor:
        """The rows whose gradient is not zero."""
        return _reached(self.gradients)

    def kernel(self, rows: Tensor) -> Tensor:
        """Return the inner products of the layer's gradients at some rows."""
        return inner_products(self.gradients[rows])


LayerGradients = FactoredGradients | SummedGradients


def _reached(rows: Tensor) -> Tensor:
    sizes = rows.detach().abs().sum(dim=1)
    return (sizes > FAINT * sizes.max()).nonzero()[:, 0]


def layer_gradients(module: Any, inputs: Tensor, cotangents: Tensor, call: Call) -> LayerGradients:
    """Return the gradients of a layer's parameters at the rows of one run.

    Parameters
    ----------
    module : nn.Module
        A linear layer, a convolution or a batch norm.
    inputs, cotangents : Tensor
        The layer's inputs, and the gradient of some sum of the model's outputs with respect to its outputs.
    call : Call
        Says which positions are padding.
    """
    counts = getattr(module, "output_multiplicities", None)
    if isinstance(module, BATCH_NORMS):
        return SummedGradients(_norm_gradients(module, inputs, cotangents, counts))
    scale = input_scale(module)
    if is_conv(module):
        return SummedGradients(_filter_gradients(module, inputs, cotangents, scale, counts))
    inputs = inputs if scale is None else inputs * scale
    cotangents = cotangents if counts is None else cotangents / counts.sqrt()
    return FactoredGradients(rows_of(inputs, call), rows_of(cotangents, call), module.bias is not None)


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
