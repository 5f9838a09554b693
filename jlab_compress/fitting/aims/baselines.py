"""Plain ways to narrow a layer, each in a few lines: what any better method has to beat."""

from __future__ import annotations

import torch
from scipy.linalg import qr
from torch import Tensor

from jlab_compress.fitting.fit import Fit, check_fit
from jlab_compress.fitting.held_out import relative_error, split_rows
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.solvers.gram import OutputGram
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.nnls import select_nonnegative
from jlab_compress.fitting.solvers.pursuit import greedy_columns


def random_subset(layer: Layer, inputs: Tensor, size: int, *, seed: int = 0) -> Fit:
    """Keep `size` neurons drawn at random, each counted n / s times.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows; only used to measure the error.
    size : int
        Width s to keep.
    seed : int
        Seed of a private generator.

    Returns
    -------
    Fit
        Unbiased estimate of the layer over the draw, with untouched weights.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(layer.width, generator=generator)[:size].sort().values
    counts = layer.multiplicities[indices] * (layer.width / size)
    return evaluated(
        layer.select(indices, counts), layer, inputs, "random subset", indices=indices, seed=seed
    )


def magnitude(layer: Layer, inputs: Tensor, size: int, *, seed: int = 0) -> Fit:
    """Keep the `size` neurons with the largest parameter norm (Li et al. 2017), counted once.

    Parameters, returns and raises as in `random_subset`; the norm is that of the incoming and
    outgoing parameters together, as group-L2 pruners take it.
    """
    check_fit(layer, inputs, size)
    norms = torch.stack([p.square().flatten(1).sum(dim=1) for p in (*layer.incoming, layer.outgoing)]).sum(0)
    indices = norms.topk(size).indices.sort().values
    return evaluated(layer.select(indices), layer, inputs, "magnitude", indices=indices, seed=seed)


def kmeans_merge(layer: Layer, inputs: Tensor, size: int, *, seed: int = 0) -> Fit:
    """Merge clusters of neurons in parameter space to their means, counted as often as they hold.

    Parameters, returns and raises as in `random_subset`. Source: model folding (Wang et al. 2025)
    without its variance repair; degree 0 and 1 of the moments of every cluster are kept.
    """
    check_fit(layer, inputs, size)
    slim = merge_clusters(layer, cluster_neurons(layer, size, seed))
    return evaluated(slim, layer, inputs, "k-means merge", seed=seed)


def greedy_refit(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    seed: int = 0,
    targets: Tensor | None = None,
    bias: bool = True,
) -> Fit:
    """Choose neurons greedily and refit the outgoing weights by least squares.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows.
    size : int
        Width s to keep.
    seed : int
        Seed of the split into rows to fit on and held-out rows.
    targets : Tensor (q, n_out), optional
        Outputs to reproduce; those of `layer` by default.
    bias : bool
        Refit the output bias too, where the layer is biased.

    Returns
    -------
    Fit
        Incoming weights untouched, every neuron counted once; it computes like the layer but does
        not train like it.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    fit, x, bias = split_rows(len(inputs), seed).fit, inputs.double(), bias and layer.biased
    wide = layer.to(torch.float64)
    wanted = wide(x) if targets is None else targets.double()
    h = wide.hidden(x)[fit]
    indices = refittable_columns(h, wanted[fit], size, wide.outgoing_bias, bias=bias)
    slim = refit_outgoing(wide.select(indices), h[:, indices], wanted[fit], bias=bias)
    return evaluated(slim, layer, inputs, "greedy + refit", indices=indices, seed=seed, targets=targets)


def interpolative(layer: Layer, inputs: Tensor, size: int, *, seed: int = 0) -> Fit:
    """Choose neurons by pivoted QR of the activations and refit the outgoing weights.

    Parameters, returns and raises as in `random_subset`. Source: Chee et al. (2022), the
    interpolative decomposition; the choice ignores the outgoing weights.
    """
    check_fit(layer, inputs, size)
    fit, x, wide = split_rows(len(inputs), seed).fit, inputs.double(), layer.to(torch.float64)
    h = wide.hidden(x)[fit]
    _, pivots = qr(h.cpu().numpy(), mode="r", pivoting=True)
    indices = torch.from_numpy(pivots[:size].astype("int64")).to(h.device).sort().values
    slim = refit_outgoing(wide.select(indices), h[:, indices], wide(x)[fit], bias=False)
    return evaluated(slim, layer, inputs, "interpolative", indices=indices, seed=seed)


def nnls_outputs(layer: Layer, inputs: Tensor, size: int, *, seed: int = 0) -> Fit:
    """Choose at most `size` untouched neurons whose non-negative counts reproduce the outputs.

    Parameters, returns and raises as in `random_subset`; fewer than `size` neurons come back where
    no further one helps, and a random subset where none does, as where all outputs are zero. The function is
    kept, the tangent kernel is not looked at.
    """
    check_fit(layer, inputs, size)
    fit, x, wide = split_rows(len(inputs), seed).fit, inputs.double(), layer.to(torch.float64)
    h = wide.hidden(x)[fit]
    gram = OutputGram(h, wide.outgoing)
    moments = gram.products((h * wide.multiplicities) @ wide.outgoing)
    indices, counts = select_nonnegative(gram, moments, size)
    if not len(indices):
        return random_subset(layer, inputs, size, seed=seed)
    return evaluated(
        wide.select(indices, counts), layer, inputs, "outputs-only NNLS", indices=indices, seed=seed
    )


def refittable_columns(
    hidden: Tensor, targets: Tensor, size: int, outgoing_bias: Tensor | None, *, bias: bool
) -> Tensor:
    """Choose `size` columns of `hidden` (q, n) greedily, with the output bias free or fixed."""
    if bias:
        return greedy_columns(hidden - hidden.mean(dim=0), targets - targets.mean(dim=0), size).sort().values
    fixed = targets if outgoing_bias is None else targets - outgoing_bias
    return greedy_columns(hidden, fixed, size).sort().values


def refit_outgoing(layer: Layer, hidden: Tensor, targets: Tensor, *, bias: bool) -> Layer:
    """Return `layer` with the outgoing weights (and bias) that fit `targets` (q, n_out) best."""
    if bias:
        return layer.with_outgoing(*least_squares(hidden, targets, intercept=True))
    old = layer.outgoing_bias
    outgoing, _ = least_squares(hidden, targets if old is None else targets - old, intercept=False)
    return layer.with_outgoing(outgoing, old)


def evaluated(
    slim: Layer,
    layer: Layer,
    inputs: Tensor,
    method: str,
    *,
    indices: Tensor | None = None,
    seed: int = 0,
    targets: Tensor | None = None,
) -> Fit:
    """Return the Fit of `slim`, in the layer's dtype, with its function error on the held-out rows."""
    held = split_rows(len(inputs), seed).held
    x = inputs[held].double()
    wanted = layer.to(torch.float64)(x) if targets is None else targets[held].double()
    error = relative_error(slim.to(torch.float64)(x), wanted)
    return Fit(slim.to(layer.outgoing.dtype), indices, method, error)
