"""The theorem's own objects: neurons as points, their parameter moments kept."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jlab_compress.core.compress_cloud import compress_cloud
from jlab_compress.fitting.aims.activation_only import UnitRows, plain_fit
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.layer import Layer


def fit_moments(layer: Layer, size: int, *, inputs: Tensor | None = None, seed: int = 0) -> Fit:
    """Keep at most `size` neurons that have the same parameter moments, cell by cell.

    Kept: every moment of (w, b, v) up to the degree that the size allows, hence the leading part of
    the function and of its training for every input and every loss. Lost: higher moments; in high
    dimension they carry nearly everything, so this is for blocks with few inputs and outputs.

    Parameters
    ----------
    layer : Layer
        n neurons; the dimension m counts all parameters of one.
    size : int
        Largest number of neurons to keep.
    inputs : Tensor (q, n_in), optional
        Rows to measure the function error on; it is NaN without them.
    seed : int
        Seed of private generators.

    Returns
    -------
    Fit
        Untouched neurons with multiplicities.

    Raises
    ------
    ValueError
        If the size is out of range or cannot hold even degree 1, which takes m + 1 neurons.

    Notes
    -----
    Source: Wang et al. (2026), arXiv 2510.00504, Theorems 3 and 4.

    Examples
    --------
    >>> w = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    >>> layer = Layer((w,), (None,), 0.02 * w**2, None, torch.ones(50).double(), torch.tanh)
    >>> fit = fit_moments(layer, 12)
    >>> round(fit.layer.multiplicities.sum().item(), 6)
    50.0
    """
    if not 1 <= size <= layer.width:
        raise ValueError(f"size must be between 1 and the layer's width {layer.width}; got {size}")
    check_degree_one(layer, size)
    parts = [*layer.incoming, *(b[:, None] for b in layer.biases if b is not None), layer.outgoing]
    points = torch.cat(parts, dim=1).double()
    cloud = compress_cloud(points, layer.multiplicities.double(), size=size, seed=seed)
    slim = rebuild(layer, cloud.points, cloud.multiplicities)
    error = float("nan") if inputs is None else relative_error(slim(inputs), layer(inputs))
    return Fit(slim, cloud.indices, "parameter moments", error, notes=tuple(cloud.notes))


def fit_units_moments(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` units of an activation-only block with the same parameter moments.

    Raises
    ------
    ValueError
        As `fit_moments`.
    """
    made = fit_moments(layer, size, seed=seed)
    if made.indices is None:
        return made
    measured = plain_fit(layer, rows, made.method, made.indices, made.layer.multiplicities, seed=seed)
    return replace(made, function_error=measured.function_error)


def check_degree_one(layer: Layer, size: int) -> None:
    """Refuse a size that cannot hold the moments of degree 1, which takes N = m + 1 neurons."""
    dimension = sum(split_sizes(layer))
    if size < dimension + 1:
        raise ValueError(
            f"size {size} cannot keep the moments of degree 1 of neurons with {dimension} parameters, which "
            f"takes N = {dimension + 1} neurons; ask for more or preserve outputs and tangent kernel instead"
        )


def rebuild(layer: Layer, points: Tensor, multiplicities: Tensor) -> Layer:
    """Return a layer like `layer` whose neurons are the rows of `points` (s, m)."""
    columns = iter(torch.split(points.to(layer.outgoing), split_sizes(layer), dim=1))
    incoming = tuple(next(columns) for _ in layer.incoming)
    biases = tuple(None if b is None else next(columns)[:, 0] for b in layer.biases)
    c = multiplicities.to(layer.multiplicities)
    return Layer(incoming, biases, next(columns), layer.outgoing_bias, c, layer.activation)


def split_sizes(layer: Layer) -> list[int]:
    """Return how many columns of a neuron's row belong to each of its parameters."""
    return (
        [w.shape[1] for w in layer.incoming]
        + [1 for b in layer.biases if b is not None]
        + [layer.outgoing.shape[1]]
    )
