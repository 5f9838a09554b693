"""How far apart two lists of tensors are, and what rounding may explain."""

from __future__ import annotations

import torch
from torch import Tensor


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest relative difference of two lists of tensors; infinite where shapes differ."""
    if [t.shape for t in got] != [t.shape for t in expected]:
        return float("inf")
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        finite = torch.isfinite(b)
        if not bool((torch.isfinite(a) == finite).all()):
            return float("inf")
        a, b = a[finite].double(), b[finite].double()
        if b.numel():
            worst = max(worst, float((a - b).norm() / b.norm().clamp_min(1e-30)))
    return worst


def tolerance(*dtypes: torch.dtype) -> float:
    """Return the relative difference that rounding may cause in the coarsest of some dtypes."""
    coarsest = max(torch.finfo(dtype).eps for dtype in dtypes)
    return float(10 * coarsest**0.75)
