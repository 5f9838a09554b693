"""A few weighted examples that stand for a whole data set in every smooth loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset, WeightedRandomSampler

from jlab_compress.core.cloud import Cloud, check_multiplicities, check_points, merge_copies
from jlab_compress.core.compress_cloud import compress_cloud
from jlab_compress.core.sizing import check_request
from jlab_compress.report import Report
from jlab_compress.surroundings import shielded


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


@shielded()
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
    Equal examples are one with the sum of their multiplicities; where no more than the size are distinct,
    these come back, fewer than asked for, and nothing is lost. Lost otherwise: higher moments; with inputs
    in the tens of dimensions little more than means is kept.

    Parameters
    ----------
    inputs : Tensor, (n, ...)
        float32 or float64, finite.
    targets : Tensor, (n, ...) or (n,)
        Floating for regression, whole numbers (n,) for classes.
    size : int
        The most examples to keep: at least one per class, at most n.
    multiplicities : Tensor (n,), optional
        c_i >= 0, ones by default. Examples with none are left out, and so are classes, with a note.
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
        For wrong shapes or dtypes, no rows, NaN or infinity, or a size out of range.

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
    check_request(len(flat), size=size, degree=degree, cells=None)
    counts = torch.ones_like(flat[:, 0]) if multiplicities is None else multiplicities
    if isinstance(counts, Tensor):
        counts = counts.detach().to(flat)
    check_multiplicities(counts, flat, zeros=True)
    points, labels = _objects(flat, targets)
    groups, without = _groups(labels, counts, size)
    parts, residual, notes = [], 0.0, []
    for (name, rows), share in zip(groups.items(), _shares(groups, counts, size), strict=True):
        kept = _reduced(points[rows], counts[rows], share, degree, seed)
        assert kept.indices is not None  # nothing moves here
        assert kept.residual is not None
        parts.append((rows[kept.indices], kept.multiplicities))
        residual = max(residual, kept.residual)
        notes += [name + note for note in kept.notes]
    indices, order = torch.cat([rows for rows, _ in parts]).sort()
    summed = torch.cat([multiplicity for _, multiplicity in parts])[order]
    inputs, targets = inputs.detach()[indices], targets.detach()[indices]
    return WeightedDataset(inputs, targets, summed, indices, residual, (*notes, *without))


def _flat(values: Tensor, name: str) -> Tensor:
    flat = values
    if isinstance(values, Tensor) and values.ndim > 0:
        flat = values.detach().flatten(1) if values.ndim > 1 else values.detach()[:, None]
    check_points(flat, name)
    return flat


def _objects(flat: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the objects to be reduced, (n, m), and their classes (n,), or None for regression."""
    n = len(flat)
    if not isinstance(targets, Tensor) or targets.ndim == 0 or len(targets) != n:
        found = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise ValueError(
            f"targets: expected a tensor of {n} rows as inputs has, got {found}; give one target each"
        )
    if targets.is_complex():
        raise TypeError(
            f"targets: expected numbers or classes, got {targets.dtype}; pass torch.view_as_real(targets)"
        )
    if targets.is_floating_point():
        return torch.cat([flat, _flat(targets, "targets").to(flat)], dim=1), None
    if targets.ndim != 1:
        raise ValueError(
            f"targets: expected classes of shape (n,), got {tuple(targets.shape)}; one class each"
        )
    return flat, targets.to(flat.device)


def _groups(labels: Tensor | None, counts: Tensor, size: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return the rows that count by the start of notes on their class, and notes on classes without any."""
    alive = counts > 0
    if labels is None:
        return {"": alive.nonzero().squeeze(1)}, []
    rows_of = {
        f"class {int(label)}: ": (alive & (labels == label)).nonzero().squeeze(1)
        for label in torch.unique(labels)
    }
    groups = {name: rows for name, rows in rows_of.items() if len(rows)}
    if len(groups) > size:
        raise ValueError(
            f"size: expected at least {len(groups)}, one example per class, got {size}; give more"
        )
    empty = [name for name in rows_of if name not in groups]
    return groups, [f"{name}all its multiplicities are zero, so nothing of it is kept" for name in empty]


def _shares(groups: Mapping[str, Tensor], counts: Tensor, size: int) -> list[int]:
    """Divide the size in proportion to mass; every class gets one."""
    masses = [float(counts[rows].sum()) for rows in groups.values()]
    free, total = size - len(masses), sum(masses)
    shares = [1 + int(free * mass / total) for mass in masses]
    for i in sorted(range(len(masses)), key=lambda i: -masses[i])[: size - sum(shares)]:
        shares[i] += 1
    return shares


def _reduced(points: Tensor, counts: Tensor, size: int, degree: int | None, seed: int) -> Cloud:
    """Reduce the distinct ones of some objects; where these are few enough all of them are kept."""
    first, summed = merge_copies(points, counts)
    if len(first) <= size:
        note = f"all distinct examples ({len(first):,}) are kept, each counted as often as it comes"
        return Cloud(points[first], summed, first, 0.0, notes=(note,))
    cloud = compress_cloud(points[first], summed, size=size, degree=degree, seed=seed)
    assert cloud.indices is not None
    return replace(cloud, indices=first[cloud.indices])
