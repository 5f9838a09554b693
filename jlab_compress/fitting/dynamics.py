"""The slim layer that computes and trains like the wide one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jlab_compress.fitting.baselines import judged, kmeans_merge, nnls_outputs
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.layer import Fit, Layer
from jlab_compress.fitting.rows import check_fit

Progress = Callable[[int, int], None]


def fit_dynamics(
    layer: Layer, inputs: Tensor, size: int, *, seed: int = 0, progress: Progress | None = None
) -> Fit:
    """Fit `size` weighted neurons to the layer's outputs and to its tangent kernel.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows.
    size : int
        Width s to keep; fewer come back where the layer has fewer distinct neurons.
    seed : int
        Seed of private generators: same seed, same bits.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Neurons with multiplicities; train it with gradients divided by them.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    distinct = merge_duplicates(layer)
    if distinct.width <= size:
        exact = judged(distinct, layer, inputs, "exact duplicates", seed=seed)
        return Fit(exact.layer, None, exact.method, exact.function_error, 0.0, True)
    fits = [kmeans_merge(distinct, inputs, size, seed=seed), nnls_outputs(distinct, inputs, size, seed=seed)]
    if progress is not None:
        progress(1, 1)
    return min(fits, key=lambda fit: fit.function_error)
