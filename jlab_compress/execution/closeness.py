"""How far apart two models' outputs are, and what rounding may explain."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import zip_longest

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


def function_gap(original: Tensor | Iterable[Tensor], slim: Tensor | Iterable[Tensor]) -> float:
    """Return the relative distance ||f_slim - f|| / ||f|| of two models' outputs on the same inputs.

    Parameters
    ----------
    original, slim : Tensor or iterable of Tensor, same shapes
        f(x) and f_slim(x) on held-out inputs, in any dtype, as one tensor or as many as there are outputs
        and batches; squares are summed over all of them in float64.

    Returns
    -------
    float
        0 where both agree, infinite where the original is zero (or either is not finite) and they do not.

    Raises
    ------
    ValueError
        If the numbers of tensors or their shapes differ, or there is nothing to compare.

    Examples
    --------
    >>> function_gap(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 2.0]))  # 3 / sqrt(30)
    0.5477225575051661
    """
    error = size = 0.0
    values = 0
    pairs = ([t] if isinstance(t, Tensor) else t for t in (original, slim))
    for wanted, found in zip_longest(*pairs):
        if wanted is None or found is None or wanted.shape != found.shape:
            shapes = ("no tensor" if t is None else str(tuple(t.shape)) for t in (wanted, found))
            raise ValueError(_unlike(" and ".join(shapes)))
        error += float((found.double() - wanted.double()).square().sum())
        size += float(wanted.double().square().sum())
        values += wanted.numel()
    if values == 0:
        raise ValueError(_unlike("none"))
    if not (math.isfinite(error) and math.isfinite(size)):
        return math.inf
    if size == 0:
        return 0.0 if error == 0 else math.inf
    return float((error / size) ** 0.5)


def _unlike(found: str) -> str:
    return (
        f"outputs: expected two tensors of one shape with at least one value, got {found}; "
        "evaluate both models on the same held-out inputs"
    )
