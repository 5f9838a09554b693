"""The slim layer that computes most like the wide one, for models that are not trained on."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jlab_compress.fitting.baselines import greedy_refit
from jlab_compress.fitting.layer import Fit, Layer
from jlab_compress.fitting.rows import check_fit

Progress = Callable[[int, int], None]


def fit_function(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    targets: Tensor | None = None,
    stream: Tensor | None = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """Fit `size` neurons to the layer's outputs; their training is not looked at.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows, as the slim network will see them.
    size : int
        Width s to keep.
    targets : Tensor (q, n_out), optional
        Outputs to reproduce at `inputs`; those of `layer` by default.
    stream : Tensor (q, n_out), optional
        What the network adds to the output (the residual stream); nothing by default.
    readout : callable, optional
        Row-wise map, such as the LayerNorm after the residual, through which outputs are compared:
        readout(stream + output) against readout(stream + targets).
    seed : int
        Seed of private generators: same seed, same bits.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Never worse on the held-out rows than greedy selection with refit.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    fit = greedy_refit(layer, inputs, size, seed=seed, targets=targets)
    if progress is not None:
        progress(1, 1)
    return fit
