"""Which numbers are rows: positions of a sequence that are no padding, patches under a filter."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from jlab_compress.execution.calls import Call

MOST_POSITIONS = 64


def patches(conv: Any, images: Tensor, *, most: int = MOST_POSITIONS) -> Tensor:
    """Return what a convolution's filter sees, (batch, positions, channels * filter size).

    Only at the positions that are `looked_at`.
    """
    single = images.dim() == len(conv.kernel_size) + 1
    seen = images.unsqueeze(0) if single else images
    seen = F.pad(seen, [side for width in reversed(conv.padding) for side in (width, width)])
    axes = range(2, seen.dim())
    for axis, size, step, gap in zip(axes, conv.kernel_size, conv.stride, conv.dilation, strict=True):
        seen = seen.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    places = looked_at(math.prod(seen.shape[axis] for axis in axes), most).to(seen.device)
    at: tuple[Any, ...] = torch.unravel_index(places, seen.shape[2 : 2 + len(axes)])
    return seen[(slice(None), slice(None), *at)].transpose(1, 2).flatten(2)


def looked_at(positions: int, most: int) -> Tensor:
    """Return which of an image's positions are looked at: at most `most`, drawn once for all images."""
    order = torch.randperm(positions, generator=torch.Generator().manual_seed(positions))
    return order[:most].sort().values


def rows_of(values: Tensor, call: Call) -> Tensor:
    """Return values (..., width) as rows (q, width), without those that the call's mask blanks."""
    mask = _mask_of(values, call)
    return values.reshape(-1, values.shape[-1]) if mask is None else values[mask]


def means_of(values: Tensor, call: Call) -> Tensor:
    """Return values (rows, positions, width) as their means over positions that the mask keeps."""
    mask = _mask_of(values, call)
    if mask is None:
        return values.mean(dim=1)
    shares = mask[:, :, None].to(values)
    return (values * shares).sum(dim=1) / shares.sum(dim=1).clamp_min(1.0)


def _mask_of(values: Tensor, call: Call) -> Tensor | None:
    mask = None if "decoder_input_ids" in call.kwargs else call.kwargs.get("attention_mask")
    fits = isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape == values.shape[:-1]
    return mask != 0 if isinstance(mask, Tensor) and fits else None
