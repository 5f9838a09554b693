"""Blocks that need no fit: as many units as wanted, once exact duplicates are merged."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.fitting.criteria import EXACT
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer


def exact_fit(layer: Layer, size: int) -> Fit | None:
    """Return the distinct units of a layer with their counts, or None where these are more than `size`.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [2.0], [1.0]])
    >>> layer = Layer((w,), (None,), torch.ones(3, 1), None, torch.ones(3), torch.tanh)
    >>> exact_fit(layer, 2).indices, exact_fit(layer, 1)
    (tensor([0, 1]), None)
    """
    distinct = merge_duplicates(layer)
    if distinct.width > size:
        return None
    method = "exact duplicates" if distinct.width < layer.width else "kept"
    return Fit(distinct, first_copies(layer, distinct), method, 0.0, 0.0, EXACT)


def first_copies(layer: Layer, distinct: Layer) -> Tensor:
    """Return, for each neuron of `distinct` (s of them), the index of its first copy in `layer`."""
    found: dict[bytes, int] = {}
    for index, row in enumerate(_neurons(layer)):
        found.setdefault(row, index)
    return torch.tensor([found[row] for row in _neurons(distinct)])


def _neurons(layer: Layer) -> list[bytes]:
    biases = [b[:, None] for b in layer.biases if b is not None]
    rows = torch.cat([*layer.incoming, *biases, layer.outgoing], dim=1) + 0.0
    return [row.tobytes() for row in rows.cpu().numpy()]
