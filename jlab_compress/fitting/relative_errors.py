"""The relative error of values against their targets."""

from __future__ import annotations

from torch import Tensor


def relative_error(value: Tensor, target: Tensor) -> float:
    """Return ||value - target|| / ||target||, infinite where the value is not finite.

    Examples
    --------
    >>> import torch
    >>> relative_error(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0]))
    0.2
    """
    size, error = float(target.norm()), float((value - target).norm())
    if error != error:
        return float("inf")
    if size == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / size
