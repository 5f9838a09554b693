"""Tangent kernels between rows: inner products of a linear layer's gradients, and how far two are apart."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_DIAGONAL = 1e-3
ROUNDING = 1e-6


def linear_kernel(
    inputs: Tensor,
    cotangents: Tensor,
    *,
    biased: bool,
    input_counts: Tensor | None = None,
    output_counts: Tensor | None = None,
) -> Tensor:
    """Return the inner products of a linear layer's parameter gradients at single rows.

    The gradient of the weight at row x with cotangent r is the outer product of r and x, and that of the bias
    is r; so no gradient is ever formed.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        Rows x.
    cotangents : Tensor (q, n_out)
        Rows r: the gradient of some loss with respect to the layer's output.
    biased : bool
        Whether the layer has a bias.
    input_counts : Tensor (n_in,), optional
        How often each input counts.
    output_counts : Tensor (n_out,), optional
        How often each output counts.

    Returns
    -------
    Tensor (q, q)
        (x' x + 1) (r' r), without the 1 where there is no bias. Cost O(q^2 (n_in + n_out)).

    Examples
    --------
    >>> x, r = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    >>> linear_kernel(x, r, biased=True).item()  # gradients 3 (1, 2) and 3
    54.0
    """
    overlaps = inner_products(inputs, input_counts)
    return (overlaps + 1 if biased else overlaps) * inner_products(cotangents, output_counts)


def inner_products(rows: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return the inner products of all pairs of rows (q, q), in which column i counts `counts[i]` times."""
    return (rows if counts is None else rows * counts) @ rows.T


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ||found - wanted||^2 / ||wanted||^2."""
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(torch.finfo(wanted.dtype).tiny)


def squared_kernel_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared relative error of a kernel (q, q) between rows.

    Rows and columns are scaled by the wanted diagonal first, so that every row counts alike.
    """
    own = wanted.diagonal()
    roots = (
        own.clamp_min(SMALLEST_DIAGONAL * float(own.mean())).clamp_min(torch.finfo(own.dtype).tiny).rsqrt()
    )
    scales = roots[:, None] * roots
    return squared_error(found * scales, wanted * scales)


def spread_error(found: Tensor, wanted: Tensor, floor: float = 0.0) -> Tensor:
    """Return ||found - wanted||^2 over the squared spread of what is wanted around its mean over rows.

    The square of `floor` is added to the spread, which is taken to be more than rounding.
    """
    least = (ROUNDING * wanted.norm()).square().clamp_min(torch.finfo(wanted.dtype).tiny)
    spread = (wanted - wanted.mean(dim=0)).square().sum() + floor**2
    return (found - wanted).square().sum() / torch.maximum(spread, least)
