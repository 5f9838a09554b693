"""Blocks that need no fit: as many units as wanted, once exact duplicates are merged."""

from __future__ import annotations

from jlab_compress.fitting.criteria import EXACT
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer


def exact_fit(layer: Layer, size: int) -> Fit | None:
    """Return the distinct units of a layer with their counts, or None where these are more than `size`.

    Examples
    --------
    >>> import torch
    >>> w = torch.tensor([[1.0], [2.0], [1.0]])
    >>> layer = Layer((w,), (None,), torch.ones(3, 1), None, torch.ones(3), torch.tanh)
    >>> exact_fit(layer, 2).indices, exact_fit(layer, 1)
    (tensor([0, 1]), None)
    """
    distinct, first = merge_duplicates(layer)
    if distinct.width > size:
        return None
    method = "exact duplicates" if distinct.width < layer.width else "kept"
    return Fit(distinct, first, method, 0.0, 0.0, EXACT)
