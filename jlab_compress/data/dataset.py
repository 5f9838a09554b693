"""A few weighted examples that stand for a whole data set in every smooth loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset, WeightedRandomSampler

from jlab_compress.core.cloud import check_points
from jlab_compress.core.compress_cloud import compress_cloud
from jlab_compress.report import Report


@dataclass(frozen=True)
class WeightedDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Kept examples and how many examples of the original each stands for.

    Item i is ``(inputs[i], targets[i], loss_weights[i])``. Train on all of it with
    ``(loss_per_example * weight).mean()``, or draw mini-batches with `sampler` and the plain mean;
    doing both would count the multiplicities twice.

    Parameters
    ----------
    inputs, targets : Tensor, (s, ...)
        Rows of the original, bit for bit.
    multiplicities : Tensor, (s,)
        c_j > 0, float64; their sum is the original's number of examples (or total).
    indices : Tensor, (s,)
        Rows of the original.
    residual : float
        Largest scaled error of a moment that is kept exactly.
    notes : tuple of str
        What was kept, class by class where targets are classes.
    """

    inputs: Tensor
    targets: Tensor
    multiplicities: Tensor
    indices: Tensor
    residual: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.inputs[index], self.targets[index], self.loss_weights[index]

    @property
    def loss_weights(self) -> Tensor:
        """c_j over their mean, (s,), in the inputs' dtype: ``(loss * weights).mean()`` is the full loss."""
        weights = self.multiplicities / self.multiplicities.mean()
        return weights.to(self.inputs.dtype if self.inputs.is_floating_point() else torch.float32)

    def sampler(self, draws: int | None = None, *, seed: int = 0) -> WeightedRandomSampler:
        """Return a sampler that draws examples with probability c_j / sum c, s per epoch by default."""
        generator = torch.Generator().manual_seed(seed)
        counts = self.multiplicities.tolist()
        return WeightedRandomSampler(counts, draws or len(self), replacement=True, generator=generator)

    @property
    def report(self) -> Report:
        """What was kept, as a report."""
        facts = {
            "examples": len(self),
            "total_multiplicity": float(self.multiplicities.sum()),
            "smallest_over_mean_multiplicity": float(self.multiplicities.min() / self.multiplicities.mean()),
            "residual": self.residual,
        }
        return Report("Weighted data set", f"{len(self):,} weighted examples.", facts, notes=self.notes)


def compress_dataset(
    inputs: Tensor,
    targets: Tensor,
    *,
    size: int,
    multiplicities: Tensor | None = None,
    degree: int | None = None,
    seed: int = 0,
) -> WeightedDataset:
    """Keep `size` weighted examples (x, y) with the moments of all of them.

    Kept: sum_i c_i p(x_i, y_i) for every polynomial p up to the degree that the size allows, and so
    the loss of every model that is smooth in (x, y) up to a small error. With whole-number targets
    the classes are reduced one by one, each to its share of the size, so class counts are exact.
    Lost: the rest; with inputs in the tens of dimensions little more than means is kept.

    Parameters
    ----------
    inputs : Tensor, (n, ...)
        float32 or float64, finite.
    targets : Tensor, (n, ...) or (n,)
        Floating for regression, whole numbers (n,) for classes.
    size : int
        The most examples to keep; at least one per class.
    multiplicities : Tensor (n,), optional
        c_i >= 0, ones by default.
    degree : int, optional
        As in `compress_cloud`; chosen from the data by default.
    seed : int
        The global generator is not touched.

    Returns
    -------
    WeightedDataset
        Rows of the original with multiplicities.

    Raises
    ------
    TypeError, ValueError
        For wrong shapes or dtypes, NaN or infinity, or a size out of range.

    Notes
    -----
    Source: Wang et al. 2026, section 4 (data points as objects). Cost: that of `compress_cloud`.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None]
    >>> kept = compress_dataset(x, x**2, size=20)
    >>> len(kept) <= 20, round(float(kept.multiplicities.sum()), 6)
    (True, 400.0)
    """
    flat = _flat(inputs, "inputs").double()
    if not isinstance(targets, Tensor) or len(targets) != len(inputs):
        raise ValueError(
            f"targets: expected a tensor of {len(inputs)} rows as inputs has; give one target each"
        )
    counts = torch.ones_like(flat[:, 0]) if multiplicities is None else multiplicities.to(flat)
    if targets.is_floating_point():
        points = torch.cat([flat, _flat(targets, "targets").double()], dim=1)
        groups = [torch.arange(len(points), device=points.device)]
    else:
        points, groups = flat, _classes(targets, size)
    parts, residual, notes = [], 0.0, []
    for rows, share in zip(
        groups, _shares([float(counts[g].sum()) for g in groups], groups, size), strict=True
    ):
        cloud = compress_cloud(points[rows], counts[rows], size=share, degree=degree, seed=seed)
        assert cloud.indices is not None  # nothing moves here
        assert cloud.residual is not None
        parts.append((rows[cloud.indices], cloud.multiplicities))
        residual = max(residual, cloud.residual)
        notes += [
            note if len(groups) == 1 else f"class {int(targets[rows[0]])}: {note}" for note in cloud.notes
        ]
    indices, order = torch.cat([rows for rows, _ in parts]).sort()
    kept = torch.cat([counted for _, counted in parts])[order]
    return WeightedDataset(inputs[indices], targets[indices], kept, indices, residual, tuple(notes))


def _flat(values: Tensor, name: str) -> Tensor:
    flat = values.reshape(len(values), -1) if isinstance(values, Tensor) and values.ndim > 0 else values
    check_points(flat, name)
    return flat


def _classes(targets: Tensor, size: int) -> list[Tensor]:
    if targets.ndim != 1:
        raise ValueError(
            f"targets: expected classes of shape (n,), got {tuple(targets.shape)}; one class each"
        )
    labels = torch.unique(targets)
    if len(labels) > size:
        raise ValueError(
            f"size: expected at least {len(labels)}, one example per class, got {size}; give more"
        )
    return [torch.nonzero(targets == label).squeeze(1) for label in labels]


def _shares(masses: list[float], groups: list[Tensor], size: int) -> list[int]:
    """Divide the size in proportion to mass; everyone gets one and no one more than there are rows."""
    free, total = size - len(groups), sum(masses)
    shares = [1 + int(free * mass / total) for mass in masses]
    for i in sorted(range(len(groups)), key=lambda i: -masses[i])[: size - sum(shares)]:
        shares[i] += 1
    return [
        min(share, len(rows)) if len(groups) > 1 else size for share, rows in zip(shares, groups, strict=True)
    ]
