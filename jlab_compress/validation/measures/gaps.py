"""How differently training moves two models."""

from __future__ import annotations

from torch import Tensor

from jlab_compress.execution.closeness import function_gap


def training_gap(original: Tensor, original_start: Tensor, slim: Tensor, slim_start: Tensor) -> float:
    """Return how wrongly the slim model moved: ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0||.

    A constant error of the slim function cancels, so the number judges the training alone: 0 where
    both functions move alike, about 1 where the slim one does not move or moves in another direction
    of the same length.

    Parameters
    ----------
    original, original_start, slim, slim_start : Tensor, same shape
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
    >>> import torch
    >>> start, end = torch.zeros(2), torch.tensor([0.0, 4.0])
    >>> training_gap(end, start, end + 9, start + 9), training_gap(end, start, start, start)
    (0.0, 1.0)
    """
    for later, start in ((original, original_start), (slim, slim_start)):
        if start.shape != later.shape:
            raise ValueError(
                f"outputs: expected the same shape at step 0 as later, {tuple(later.shape)}, got "
                f"{tuple(start.shape)}; evaluate both models on the same held-out inputs at both times"
            )
    moved = original.double() - original_start.double()
    return function_gap(moved, slim.double() - slim_start.double())
