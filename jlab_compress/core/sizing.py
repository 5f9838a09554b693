"""Which degree, how many cells and how many objects in each: the size of a reduction, before it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jlab_compress.core.polynomials import count_functions, importance, largest_degree

_LARGEST_CELL, _USUAL_CELL = 1000, 256  # objects that one cell may keep; its cost grows with the cube
_EXACT_SHARE = 0.75  # of the objects: at most so many moments are kept exactly
_FITTED_SHARE = 1.75  # of the objects: so many moments are looked at when objects are dropped


@dataclass(frozen=True)
class Sizing:
    """So many cells, each keeping the moments up to a degree, or the best that so many objects can.

    Parameters
    ----------
    cells : int
        Cells of equal mass.
    degree : int or None
        Exact in every cell; None leaves it to `size`.
    size : int or None
        Objects in every cell; None leaves it to `degree`.
    move : bool
        Objects may move.
    """

    cells: int
    degree: int | None = None
    size: int | None = None
    move: bool = False


@dataclass(frozen=True)
class SizeTarget:
    """How many objects to keep where they are more than the moments that must be exact.

    Parameters
    ----------
    size : int
        Objects to keep; at least `exact`.
    exact : int
        The first so many functions are kept exactly.
    importance : array, (N - exact,)
        How much an error in each of the other functions counts.
    """

    size: int
    exact: int
    importance: NDArray[np.float64]


def fixed_sizing(
    dimension: int, *, size: int | None, degree: int | None, cells: int | None, move: bool
) -> Sizing:
    """Return the sizing for a caller who gave a degree or a number of cells.

    Without `move`, a degree whose moments need more than `size` objects is lowered.
    """
    if size is None:
        return Sizing(cells or 1, degree, None, move)
    share = max(1, size // (cells or 1))
    if move:
        return Sizing(cells or 1, degree, share, move)
    top = largest_degree(dimension, share)
    degree = top if degree is None else min(degree, top)
    return Sizing(cells or size // count_functions(dimension, degree), degree)


def sizings_to_try(size: int) -> list[Sizing]:
    """Return sizings for `size` objects, cells ascending; the first keeps a cell's cost, O(s^3), bearable."""
    first = 1 if size <= _LARGEST_CELL else math.ceil(size / _USUAL_CELL)
    numbers = [first * factor for factor in (1, 2, 4, 8, 16) if first * factor <= size]
    return [Sizing(number, None, size // number) for number in numbers]


def fitted_degrees(dimension: int, size: int) -> tuple[int, int]:
    """Return the degree that `size` objects keep exactly, and the one up to which they are fitted."""
    exact = largest_degree(dimension, max(1, int(_EXACT_SHARE * size)))
    fitted = largest_degree(dimension, max(1, int(_FITTED_SHARE * size)))
    if count_functions(dimension, fitted + 1) <= 4 * _FITTED_SHARE * size:
        fitted += 1
    return exact, fitted


def choose_functions(dimension: int, size: int) -> tuple[Tensor, SizeTarget]:
    """Return the functions to look at, the exact ones first, and what is wanted of them."""
    exact, fitted = fitted_degrees(dimension, size)
    weight = importance(dimension, fitted)
    functions = count_functions(dimension, exact)
    most = min(len(weight), max(int(_FITTED_SHARE * size), size + dimension))
    rest = functions + torch.argsort(weight[functions:], descending=True)[: most - functions]
    rest = rest.sort().values
    return torch.cat([torch.arange(functions), rest]), SizeTarget(size, functions, weight[rest].numpy())


def check_request(rows: int, *, size: int | None, degree: int | None, cells: int | None) -> None:
    """Refuse numbers that are not whole, out of range or contradict each other."""
    if size is None and degree is None:
        raise ValueError("compress_cloud: neither size nor degree was given; give the objects to keep")
    for name, value, low in (("size", size, 1), ("degree", degree, 0), ("cells", cells, 1)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: expected a whole number, got {value!r}; give an int")
        if value < low:
            raise ValueError(f"{name}: expected at least {low}, got {value}; give a larger number")
    if size is not None and size > rows:
        raise ValueError(f"size: expected at most the {rows} objects of the cloud, got {size}; give fewer")
    if cells is not None and cells > (size or rows):
        raise ValueError(
            f"cells: expected at most {size or rows}, got {cells}; a cell keeps at least one object"
        )
