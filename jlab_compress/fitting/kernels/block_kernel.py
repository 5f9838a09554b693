"""The tangent kernel of one block between rows, and the gradients that the block back-propagates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.actions import hidden_and_slopes
from jlab_compress.fitting.kernels.row_kernels import linear_kernel, squared_kernel_error
from jlab_compress.fitting.layer import Layer


@dataclass(frozen=True)
class BlockKernel:
    """The tangent kernel between q rows.

    Parameters
    ----------
    outgoing, incoming : Tensor (q, q)
        How far a gradient step at one row moves the layer at another along that one's cotangent, by the
        outgoing and by the incoming parameters.
    """

    outgoing: Tensor
    incoming: Tensor

    def errors(self, wanted: BlockKernel) -> list[Tensor]:
        """Return the `squared_kernel_error` of the two parts."""
        pairs = (self.outgoing, wanted.outgoing), (self.incoming, wanted.incoming)
        return [squared_kernel_error(*pair) for pair in pairs]


def block_kernel(layer: Layer, inputs: Tensor, cotangents: Tensor) -> BlockKernel:
    """Return the tangent kernel of a block between rows, each with a cotangent of its own.

    Parameters
    ----------
    layer : Layer
        n neurons; where its tensors require gradients the result can be differentiated.
    inputs : Tensor (q, n_in)
        Rows x.
    cotangents : Tensor (q, n_out)
        The gradient r of some loss with respect to the layer's output at each row.

    Returns
    -------
    BlockKernel
        sum_j c_j grad(r . phi_j(x)) . grad(r' . phi_j(x')), phi_j(x) = act(w_j . x + b_j) v_j, for all pairs
        of rows; equal to all probes of the tangent kernel at once (Jacot, Gabriel, Hongler 2018). Cost
        O(q^2 (n + n_in + n_out) + q n (n_in + n_out)).

    Examples
    --------
    >>> one = torch.ones(1, 1)
    >>> found = block_kernel(Layer((one,), (None,), one, None, 2 * one[0], torch.relu), 3 * one, one)
    >>> found.outgoing.item(), found.incoming.item()
    (18.0, 18.0)
    """
    hidden, slopes = hidden_and_slopes(layer, inputs)
    through, counts = cotangents @ layer.outgoing.T, layer.multiplicities
    outgoing = linear_kernel(hidden, cotangents, biased=False, input_counts=counts)
    incoming = torch.zeros_like(outgoing)
    for bias, slope in zip(layer.biases, slopes, strict=True):
        incoming = incoming + linear_kernel(
            inputs, through * slope, biased=bias is not None, output_counts=counts
        )
    return BlockKernel(outgoing, incoming)


def back_propagate(layer: Layer, inputs: Tensor, cotangents: Tensor) -> Tensor:
    """Return the gradients (q, n_in) that a layer passes on to its inputs; parameters as in `block_kernel`.

    Examples
    --------
    >>> one = torch.ones(1, 1)
    >>> back_propagate(Layer((one,), (None,), one, None, 2 * one[0], torch.relu), 3 * one, one).item()
    2.0
    """
    _, slopes = hidden_and_slopes(layer, inputs)
    through = cotangents @ (layer.outgoing * layer.multiplicities[:, None]).T
    parts = [(through * slope) @ weight for weight, slope in zip(layer.incoming, slopes, strict=True)]
    return torch.stack(parts).sum(dim=0)
