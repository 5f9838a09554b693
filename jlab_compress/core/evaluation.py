"""Measure the error of a reduced cloud with random smooth functions that no reduction was fitted to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jlab_compress.core.cloud import Cloud

_FUNCTIONS = 64
_MEANS_CHUNK = 16384


class RandomFunctionTest:
    """Means of random ridge functions over a cloud: sigmoids and cosines of its standardised objects.

    Parameters
    ----------
    points : Tensor, (n, m)
        The cloud that reduced ones are compared with.
    multiplicities : Tensor, (n,)
        c_i >= 0.
    seed : int
        Draws directions, offsets and slopes; the global generator is not touched.
    """

    def __init__(self, points: Tensor, multiplicities: Tensor, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed + 1)
        dimension = points.shape[1]
        directions = torch.randn(dimension, _FUNCTIONS, generator=generator, dtype=torch.float64)
        directions /= directions.norm(dim=0)
        self._offsets = torch.rand(_FUNCTIONS, generator=generator, dtype=torch.float64).to(points.device)
        self._directions = directions.to(points.device)
        deviation, self._mean = torch.std_mean(points.double(), dim=0, correction=0)
        self._deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        self._means = self._mean_values(points, multiplicities)

    def error(self, cloud: Cloud) -> float:
        """Return the root mean square error of the means over the cloud."""
        means = self._mean_values(cloud.points, cloud.multiplicities)
        return float((means - self._means).square().mean().sqrt())

    def _mean_values(self, points: Tensor, multiplicities: Tensor) -> Tensor:
        total = torch.zeros(2 * _FUNCTIONS, dtype=torch.float64, device=points.device)
        for start in range(0, len(points), _MEANS_CHUNK):
            part = slice(start, start + _MEANS_CHUNK)
            ridge = ((points[part].double() - self._mean) / self._deviation) @ self._directions
            values = torch.cat(
                [
                    torch.sigmoid(ridge + 2 * self._offsets - 1),
                    torch.cos(ridge + 2 * math.pi * self._offsets),
                ],
                dim=1,
            )
            total += multiplicities[part].double() @ values
        return total / multiplicities.double().sum()
