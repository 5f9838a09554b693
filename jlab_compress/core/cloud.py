"""A cloud: n objects of R^m, each counted with a positive multiplicity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.report import Report
from jlab_compress.surroundings import shielded

_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Cloud:
    """Objects with multiplicities, and how a reduced cloud came about.

    Parameters
    ----------
    points : Tensor, (s, m)
        One object per row, float32 or float64.
    multiplicities : Tensor, (s,)
        c_j > 0, same dtype and device as the points.
    indices : Tensor (s,) or None
        Rows of the original cloud; None where nodes moved or the cloud is an original.
    residual : float or None
        Largest scaled moment error against the original cloud; None for an original.
    degree, cells : int or None
        The moments that were kept: all up to this degree in each of this many cells.
    notes : tuple of str
        What was chosen and what was not reached, one sentence each.

    Examples
    --------
    >>> cloud = Cloud(torch.zeros(3, 2), torch.tensor([1.0, 2.0, 1.0]))
    >>> cloud.size, cloud.dimension, cloud.total, cloud.spread
    (3, 2, 4.0, 0.75)
    """

    points: Tensor
    multiplicities: Tensor
    indices: Tensor | None = None
    residual: float | None = None
    degree: int | None = None
    cells: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_points(self.points)
        check_multiplicities(self.multiplicities, self.points)

    @property
    def size(self) -> int:
        """The number of objects s."""
        return self.points.shape[0]

    @property
    def dimension(self) -> int:
        """The dimension m of an object."""
        return self.points.shape[1]

    @property
    def total(self) -> float:
        """The sum of the multiplicities."""
        return float(self.multiplicities.double().sum())

    @property
    def spread(self) -> float:
        """The smallest multiplicity over the mean one, in (0, 1]; gradients are divided by them."""
        return float(self.multiplicities.double().min() / self.multiplicities.double().mean())

    @property
    def report(self) -> Report:
        """What was kept, as a report."""
        facts = {
            "objects": self.size,
            "dimension": self.dimension,
            "total_multiplicity": self.total,
            "smallest_over_mean_multiplicity": self.spread,
            "degree": self.degree,
            "cells": self.cells,
            "residual": self.residual,
        }
        known = {key: value for key, value in facts.items() if value is not None}
        return Report(
            "Cloud", f"{self.size:,} objects in dimension {self.dimension}.", known, notes=self.notes
        )


@shielded()
def merge_clouds(*clouds: Cloud) -> Cloud:
    """Return the union of clouds: every moment of the union is the sum of theirs.

    Reducing parts, merging and reducing again keeps the moments of the whole, in any order; this is
    the distributed algorithm (moments add; Wang et al. 2026, section 3).

    Parameters
    ----------
    *clouds : Cloud
        At least one; equal dimension, dtype and device.

    Returns
    -------
    Cloud
        Points and multiplicities one after the other, without indices.

    Raises
    ------
    ValueError
        If no cloud is given or they disagree about dimension, dtype or device.

    Examples
    --------
    >>> one = Cloud(torch.zeros(2, 1), torch.ones(2))
    >>> merge_clouds(one, one).total
    4.0
    """
    if not clouds:
        raise ValueError("merge_clouds: no cloud was given; give at least one")
    kinds = {(c.dimension, c.points.dtype, c.points.device) for c in clouds}
    if len(kinds) > 1:
        raise ValueError(
            f"merge_clouds: the clouds differ in (dimension, dtype, device): {sorted(map(str, kinds))}; "
            "bring them to one"
        )
    parts = [(c.points.detach(), c.multiplicities.detach()) for c in clouds]
    points, multiplicities = (torch.cat(every) for every in zip(*parts, strict=True))
    return Cloud(points, multiplicities)


def merge_copies(points: Tensor, multiplicities: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first copy of each distinct object and the multiplicities of all its copies together.

    Parameters
    ----------
    points : Tensor, (n, m)
        One object per row.
    multiplicities : Tensor, (n,)
        c_i.

    Returns
    -------
    tuple of Tensor, both (s,)
        Ascending rows of `points`, and sums of multiplicities. Cost: one lexicographic sort of n rows.

    Examples
    --------
    >>> merge_copies(torch.tensor([[2.0], [1.0], [2.0]]), torch.ones(3))
    (tensor([0, 1]), tensor([2., 1.]))
    """
    _, group = torch.unique(points, dim=0, return_inverse=True)
    rows = torch.arange(len(points), device=points.device)
    first = torch.full((int(group.max()) + 1,), len(points), device=points.device)
    first = first.scatter_reduce(0, group, rows, "amin")
    counts = torch.zeros(len(first), dtype=multiplicities.dtype, device=points.device)
    counts = counts.scatter_add(0, group, multiplicities)
    order = first.argsort()
    return first[order], counts[order]


def check_points(points: Tensor, name: str = "points") -> None:
    """Refuse anything but a finite float (n, m) tensor with n >= 1 and m >= 1."""
    if not isinstance(points, Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(points).__name__}; convert it first")
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            f"{name}: expected shape (n, m), n and m at least 1, got {tuple(points.shape)}; one row each"
        )
    if points.dtype not in _DTYPES:
        raise TypeError(f"{name}: expected float32 or float64, got {points.dtype}; convert with .double()")
    if not torch.isfinite(points.sum()) and not torch.isfinite(points).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity; drop or mend those rows")


def check_multiplicities(multiplicities: Tensor, points: Tensor, *, zeros: bool = False) -> None:
    """Refuse multiplicities that do not belong to the points or are not positive (zeros only if asked)."""
    name = "multiplicities"
    if not isinstance(multiplicities, Tensor):
        raise TypeError(
            f"{name}: expected a torch tensor, got {type(multiplicities).__name__}; convert it first"
        )
    if multiplicities.shape != points.shape[:1]:
        raise ValueError(
            f"{name}: expected shape ({len(points)},), got {tuple(multiplicities.shape)}; one per object"
        )
    if multiplicities.dtype != points.dtype or multiplicities.device != points.device:
        raise ValueError(
            f"{name}: expected {points.dtype} on {points.device} as the objects have, got "
            f"{multiplicities.dtype} on {multiplicities.device}; bring them together with .to()"
        )
    if not torch.isfinite(multiplicities.sum()) and not torch.isfinite(multiplicities).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity; drop those objects")
    smallest = float(multiplicities.min())
    if smallest < 0 or (smallest == 0 and not zeros):
        bound = ">= 0" if zeros else "> 0"
        raise ValueError(f"{name}: expected values {bound}, got {smallest:g}; drop those objects")
    if float(multiplicities.max()) == 0:
        raise ValueError(f"{name}: all are zero, so the cloud is empty; give at least one positive value")
