"""How far two models are apart: in what they compute, and in what training changes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def function_gap(slim: Tensor, original: Tensor) -> float:
    """Return the relative distance ||f_slim - f|| / ||f|| of two models' outputs on the same inputs.

    Parameters
    ----------
    slim, original : Tensor, same shape
        f_slim(x) and f(x) on held-out inputs, in any dtype; norms are taken in float64.

    Returns
    -------
    float
        0 where both agree, infinite where the original is zero (or either is not finite) and they do not.

    Raises
    ------
    ValueError
        If the shapes differ or there is nothing to compare.

    Examples
    --------
    >>> function_gap(torch.tensor([1.0, 2.0, 2.0]), torch.tensor([1.0, 2.0, 5.0]))  # 3 / sqrt(30)
    0.5477225575051661
    """
    _check_shapes(slim, original)
    return _relative(slim.double() - original.double(), original.double())


def training_gap(slim: Tensor, slim_start: Tensor, original: Tensor, original_start: Tensor) -> float:
    """Return how wrongly the slim model moved: ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0||.

    A constant error of the slim function cancels, so the number judges the training alone: 0 where
    both functions move alike, about 1 where the slim one does not move or moves in another direction
    of the same length.

    Parameters
    ----------
    slim, slim_start, original, original_start : Tensor, same shape
        Outputs at step t and at step 0 on held-out inputs.

    Returns
    -------
    float
        0 where neither moved, infinite where only the slim one moved or an output is not finite.

    Raises
    ------
    ValueError
        If the shapes differ or there is nothing to compare.

    Examples
    --------
    >>> start, end = torch.zeros(2), torch.tensor([0.0, 4.0])
    >>> training_gap(end + 9, start + 9, end, start), training_gap(start, start, end, start)
    (0.0, 1.0)
    """
    for other in (slim_start, original, original_start):
        _check_shapes(slim, other)
    moved = original.double() - original_start.double()
    return _relative(slim.double() - slim_start.double() - moved, moved)


def _relative(difference: Tensor, reference: Tensor) -> float:
    above, below = float(torch.linalg.vector_norm(difference)), float(torch.linalg.vector_norm(reference))
    if not (math.isfinite(above) and math.isfinite(below)):
        return math.inf
    if below == 0:
        return 0.0 if above == 0 else math.inf
    return above / below


def _check_shapes(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.numel() == 0:
        raise ValueError(
            f"outputs: expected two tensors of one shape with at least one value, got {tuple(first.shape)} "
            f"and {tuple(second.shape)}; evaluate both models on the same held-out inputs"
        )
