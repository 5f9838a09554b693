"""What backward passes make of a layer at single rows, each with one cotangent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.actions import respond
from jlab_compress.fitting.layer import Layer

FAINT = 1e-3


@dataclass(frozen=True)
class Gram:
    """The tangent kernel between q rows.

    Parameters
    ----------
    outgoing, incoming : Tensor (q, q)
        How far a gradient step at one row moves the layer at another along that one's cotangent, by the
        outgoing and by the incoming parameters.
    """

    outgoing: Tensor
    incoming: Tensor

    def errors(self, wanted: Gram) -> list[Tensor]:
        """Return the `squared_kernel_error` of the two parts."""
        pairs = (self.outgoing, wanted.outgoing), (self.incoming, wanted.incoming)
        return [squared_kernel_error(*pair) for pair in pairs]


def gram_of(layer: Layer, inputs: Tensor, cotangents: Tensor) -> Gram:
    """Return the Gram matrices of a layer's tangent kernel.

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
    Gram
        sum_j c_j grad(r . phi_j(x)) . grad(r' . phi_j(x')), phi_j(x) = act(w_j . x + b_j) v_j, for all pairs
        of rows; equal to all probes of the tangent kernel at once (Jacot, Gabriel, Hongler 2018). Cost
        O(q^2 (n + n_in + n_out) + q n (n_in + n_out)).

    Examples
    --------
    >>> one = torch.ones(1, 1)
    >>> found = gram_of(Layer((one,), (None,), one, None, 2 * one[0], torch.relu), 3 * one, one)
    >>> found.outgoing.item(), found.incoming.item()
    (18.0, 18.0)
    """
    hidden, slopes = respond(layer, inputs)
    through, overlaps = cotangents @ layer.outgoing.T, inputs @ inputs.T
    outgoing = ((hidden * layer.multiplicities) @ hidden.T) * (cotangents @ cotangents.T)
    incoming = torch.zeros_like(outgoing)
    for bias, slope in zip(layer.biases, slopes, strict=True):
        pulled = through * slope
        alike = (pulled * layer.multiplicities) @ pulled.T
        incoming = incoming + alike * (overlaps if bias is None else overlaps + 1)
    return Gram(outgoing, incoming)


def send_back(layer: Layer, inputs: Tensor, cotangents: Tensor) -> Tensor:
    """Return the gradients (q, n_in) that a layer passes on to its inputs; parameters as in `gram_of`.

    Examples
    --------
    >>> one = torch.ones(1, 1)
    >>> send_back(Layer((one,), (None,), one, None, 2 * one[0], torch.relu), 3 * one, one).item()
    2.0
    """
    _, slopes = respond(layer, inputs)
    through = cotangents @ (layer.outgoing * layer.multiplicities[:, None]).T
    parts = [(through * slope) @ weight for weight, slope in zip(layer.incoming, slopes, strict=True)]
    return torch.stack(parts).sum(dim=0)


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ||found - wanted||^2 / ||wanted||^2."""
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(torch.finfo(wanted.dtype).tiny)


def squared_kernel_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared relative error of a kernel (q, q) between rows.

    Rows and columns are scaled by the wanted diagonal first, so that every row counts alike.
    """
    own = wanted.diagonal()
    roots = own.clamp_min(FAINT * float(own.mean())).clamp_min(torch.finfo(own.dtype).tiny).rsqrt()
    scales = roots[:, None] * roots
    return squared_error(found * scales, wanted * scales)
