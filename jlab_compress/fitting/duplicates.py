"""Neurons that are copies of each other collapse to one, with their exact count."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.core.cloud import merge_copies
from jlab_compress.fitting.layer import Layer


def merge_duplicates(layer: Layer) -> tuple[Layer, Tensor]:
    """Merge neurons that are equal in every parameter and add their multiplicities.

    Nothing is lost: the function and every step of its training stay the same, because equal
    neurons receive equal gradients for ever.

    Parameters
    ----------
    layer : Layer
        n neurons.

    Returns
    -------
    tuple of Layer and Tensor (s,)
        The distinct neurons in the order of their first copy, with multiplicities that still sum to the same
        number; and the index of that copy in `layer`. What is kept of the distinct neurons has its place in
        `layer` there, not where it is among the distinct ones.

    Notes
    -----
    Cost: one lexicographic sort of n rows. Source: Wang et al. (2026), arXiv 2510.00504, the
    symmetry under permutations of objects.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [2.0], [1.0]])
    >>> layer = Layer((w,), (None,), torch.ones(3, 1), None, torch.ones(3), torch.tanh)
    >>> distinct, first = merge_duplicates(layer)
    >>> distinct.multiplicities, first
    (tensor([2., 1.]), tensor([0, 1]))
    """
    parts = [*layer.incoming, *(b[:, None] for b in layer.biases if b is not None), layer.outgoing]
    first, counts = merge_copies(torch.cat(parts, dim=1), layer.multiplicities)
    return layer.select(first, counts), first
