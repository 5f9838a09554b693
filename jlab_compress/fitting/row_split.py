"""Which calibration rows a fit sees, which ones judge it, and how an error is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer

Progress = Callable[[int, int], None]

HELD_OUT = 0.2
FEWEST_ROWS = 5


@dataclass(frozen=True)
class Split:
    """Indices of the rows to fit on, (q_fit,), and of the rows to judge on, (q_held,)."""

    fit: Tensor
    held: Tensor


def split_rows(n_rows: int, seed: int = 0) -> Split:
    """Split rows at random into four fifths to fit on and one fifth to judge on.

    With fewer than five rows nothing can be held out, and both parts are all rows.

    Parameters
    ----------
    n_rows : int
        Number q of calibration rows.
    seed : int
        Seed of a private generator.

    Returns
    -------
    Split
        Disjoint, sorted indices; together 0..q-1.

    Examples
    --------
    >>> split = split_rows(10)
    >>> len(split.fit), len(split.held)
    (8, 2)
    """
    if n_rows < FEWEST_ROWS:
        every = torch.arange(n_rows)
        return Split(every, every)
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))
    n_held = max(1, round(HELD_OUT * n_rows))
    return Split(order[n_held:].sort().values, order[:n_held].sort().values)


def relative_error(value: Tensor, target: Tensor) -> float:
    """Return ||value - target|| / ||target||, infinite where the value is not finite.

    Examples
    --------
    >>> relative_error(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0]))
    0.2
    """
    size, error = float(target.norm()), float((value - target).norm())
    if error != error:
        return float("inf")
    if size == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / size


def check_fit(layer: Layer, inputs: Tensor, size: int) -> None:
    """Refuse a size or calibration rows that no fit of `layer` can use.

    Parameters
    ----------
    layer : Layer
        n neurons with n_in inputs.
    inputs : Tensor (q, n_in)
        Calibration rows.
    size : int
        Wanted width, 1 <= size <= n.

    Raises
    ------
    ValueError
        If the size is out of range, the rows have the wrong shape or are not finite.
    """
    n_in = layer.incoming[0].shape[1]
    if not 1 <= size <= layer.width:
        raise ValueError(f"size must be between 1 and the layer's width {layer.width}; got {size}")
    if inputs.ndim != 2 or inputs.shape[1] != n_in or inputs.shape[0] == 0:
        raise ValueError(
            f"inputs must be calibration rows of shape (q, {n_in}) with q > 0; got {tuple(inputs.shape)}"
        )
    if not torch.isfinite(inputs).all():
        raise ValueError("inputs must be finite; found NaN or infinity, remove those calibration rows")


def counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """Return a callable that reports one more step of `total` each time it is called."""
    done = 0

    def count() -> None:
        nonlocal done
        done = min(done + 1, total)
        if progress is not None:
            progress(done, total)

    return count
