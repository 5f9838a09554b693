"""Find positive multiplicities on a small random subset that already have all moments of the cloud."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from jlab_compress.core.caratheodory import Array

_REWEIGHTING_ROUNDS = 12
_SLOW = 0.3  # the rounds are given up where one leaves more than this share of the error
_SHRINK = 0.2  # a ratio that a step would make negative falls to this share instead


def draw_strata(counts: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw about `size` objects with probability proportional to counts, one per stratum of equal mass.

    Returns
    -------
    indices : Tensor (M,), M <= size
    counts : Tensor (M,)
        The mass of the strata that fell on each; their sum is the total.
    """
    cumulated = torch.cumsum(counts, 0)
    generator = torch.Generator().manual_seed(seed)
    places = (torch.arange(size) + torch.rand(size, generator=generator, dtype=torch.float64)) / size
    hits = torch.searchsorted(cumulated, (places * float(cumulated[-1])).to(counts.device), right=True)
    indices, times = torch.unique_consecutive(hits.clamp_(max=len(counts) - 1), return_counts=True)
    return indices, times * (cumulated[-1] / size)


def reweight(rows: Array, moments: Array) -> Array | None:
    """Return u > 0 (M,) with u^T rows = moments to 1e-10, or None if a few rounds do not find it.

    Each round takes the smallest relative change sum_i du_i^2 / u_i that restores the moments; where
    a multiplicity would turn negative, it shrinks to a fifth and the next round makes up for it.
    """
    scale = np.abs(rows).sum(0)
    if not scale.all():
        return None
    scaled, target = rows / scale, moments / scale
    ratios, before = np.ones(len(rows)), np.inf
    for number in range(_REWEIGHTING_ROUNDS):
        missing = target - scaled.T @ ratios
        error = np.abs(missing).max()
        if error < 1e-12:
            return ratios
        if number > 1 and error > _SLOW * before:
            return None
        before = error
        gram = scaled.T @ (scaled * ratios[:, None])
        try:
            factor = scipy.linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        step = 1.0 + scaled @ scipy.linalg.cho_solve(factor, missing, check_finite=False)
        ratios = ratios * np.maximum(step, _SHRINK)
    return None
