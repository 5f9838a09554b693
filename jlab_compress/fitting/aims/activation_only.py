"""Fewer units in a block that is known by its activations only: attention heads, or channels of a chain.

What an attention head gives at a position depends on other positions, and a channel with depthwise
convolutions behind it on its neighbours, so no function of single rows computes it. A fit sees the
activations instead: the d values that each unit gave at the calibration rows, and how the block's output
answers to its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from jlab_compress.fitting.criteria import training_criteria
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.held_out import Split, relative_error, split_rows
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.post_norm import PostNormMap, importance_weighted
from jlab_compress.fitting.solvers.gram import HeldGram
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.nnls import select_nonnegative
from jlab_compress.fitting.solvers.pursuit import greedy_groups

MATCHED = (
    "matched are the outputs and, on random directions at single positions, the tangent kernel; what is kept "
    "keeps its weights, only multiplicities are fitted"
)


@dataclass(frozen=True)
class UnitRows:
    """What a run of the model shows of the units of one block.

    Parameters
    ----------
    values : Tensor (q, n d)
        What the n units give at each calibration row, unit by unit.
    kernels : tuple of Tensor (n, P, P)
        Per kind of parameter, each unit's inner products of gradients for P probes; none where not taken.
    targets : Tensor (q, n_out) or None
        Outputs to reproduce; those of the block by default.
    post_norm : PostNormMap
        Through which outputs are compared with targets.
    synthetic : int
        How many of the last rows come from augmentation: fits learn from them, no error is measured there.
    """

    values: Tensor
    kernels: tuple[Tensor, ...] = ()
    targets: Tensor | None = None
    post_norm: PostNormMap = field(default_factory=PostNormMap)
    synthetic: int = 0

    def outputs_of(self, layer: Layer) -> Tensor:
        """Return the outputs (q, n_out) of all units of a layer with those very values."""
        each = self.each(layer)
        counts = layer.multiplicities.repeat_interleave(each)
        outputs = self.values @ (output_matrix(layer, each) * counts[:, None])
        return outputs if layer.outgoing_bias is None else outputs + layer.outgoing_bias

    def each(self, layer: Layer) -> int:
        """Return the number of values d that each unit of a layer gives."""
        return self.values.shape[1] // layer.width

    def select(self, indices: Tensor, each: int) -> UnitRows:
        """Return the rows of the units at `indices` only."""
        kept = replace(self, values=self.values[:, unit_columns(indices, each)])
        return replace(kept, kernels=tuple(k[indices] for k in self.kernels))

    def at(self, rows: Tensor) -> UnitRows:
        """Return the values at the rows with indices (B,) only, without targets and kernels."""
        return UnitRows(self.values[rows])


def unit_columns(indices: Tensor, each: int) -> Tensor:
    """Return the columns of some units among `each` columns for every one.

    Examples
    --------
    >>> unit_columns(torch.tensor([2, 0]), 2).tolist()
    [4, 5, 0, 1]
    """
    return (indices[:, None] * each + torch.arange(each, device=indices.device)).flatten()


def output_matrix(layer: Layer, each: int) -> Tensor:
    """Return the output weights of all units as one matrix (n d, n_out)."""
    return layer.outgoing.reshape(layer.width, -1, each).transpose(1, 2).flatten(0, 1)


def with_output_matrix(layer: Layer, matrix: Tensor, each: int, bias: Tensor | None) -> Layer:
    """Return the layer with output weights (n d, n_out), each unit counted once."""
    rows = matrix.reshape(-1, each, matrix.shape[1]).transpose(1, 2).flatten(1)
    return layer.with_outgoing(rows, bias)


def fit_units_function(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep the `size` units that carry the outputs best, with refitted output weights and bias.

    Parameters
    ----------
    layer : Layer
        n units, as they are read from an activation-only block.
    rows : UnitRows
        Calibration.
    size : int
        Units to keep.
    seed : int
        Of the split into rows to fit on and held-out rows.

    Returns
    -------
    Fit
        Queries, keys and values untouched, every unit counted once; the bias stays away where there was
        none. With a norm behind the block the better of two choices on held-out rows: weighted as the norm
        lets outputs count, and plain; measured behind the norm, before a last refit on all rows.
    """
    total, each = len(rows.values), rows.each(layer)
    split = split_rows(total - rows.synthetic, seed)
    learn = torch.cat([split.fit, torch.arange(total - rows.synthetic, total)])
    wanted = rows.outputs_of(layer) if rows.targets is None else rows.targets
    importance = rows.post_norm.importance(wanted, torch.arange(len(wanted)))

    def refitted(indices: Tensor, weights: Tensor, at: Tensor) -> Layer:
        values = rows.select(indices, each).values
        found = least_squares(values[at], wanted[at], intercept=layer.biased, weights=weights[at])
        return with_output_matrix(layer.select(indices), found[0], each, found[1])

    tried = []
    for counted in (importance, torch.ones_like(importance)):
        weights = counted.mean(dim=1)
        columns, goals = importance_weighted(rows.values[learn], wanted[learn], counted[learn], layer.biased)
        indices = greedy_groups(columns, goals, size, each).sort().values
        slim = refitted(indices, weights, learn)
        error = _held_out_error(rows.select(indices, each), slim, wanted, split.held)
        tried.append((error, indices, weights))
        if rows.post_norm.norm is None:
            break
    error, indices, weights = min(tried, key=lambda one: one[0])
    final = refitted(indices, weights, torch.arange(len(wanted)))
    return Fit(final, indices, "greedy + refit", error)


def _held_out_error(rows: UnitRows, slim: Layer, wanted: Tensor, held: Tensor) -> float:
    outputs = rows.at(held).outputs_of(slim)
    return relative_error(rows.post_norm(outputs, held), rows.post_norm(wanted[held], held))


def fit_units_dynamics(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` units with non-negative multiplicities that match outputs and tangent kernel.

    Parameters are those of `fit_units_function`; the rows need kernels.

    Returns
    -------
    Fit
        Untouched units with multiplicities: of {outputs and kernel, outputs only, a random subset counted
        n / s times} the best on held-out rows and probes.
    """
    split = split_rows(len(rows.values), seed)
    outputs = output_products(layer, rows, split.fit)
    both = outputs / outputs.sum()
    for kernel in rows.kernels:
        probes = split_rows(kernel.shape[1], seed).fit
        flat = kernel[:, probes][:, :, probes].flatten(1)
        both = both + flat @ flat.T / flat.sum(dim=0).square().sum()
    found = [
        _Choice("multiplicities for outputs and kernel", *_weighted(both, layer, size, seed)),
        _Choice("multiplicities for outputs", *_weighted(outputs, layer, size, seed)),
        _Choice("random subset", *_random(layer, size, seed)),
    ]
    fits = [_evaluated(layer, rows, split, choice, seed) for choice in found]
    return min(fits, key=lambda fit: fit.function_error**2 + (fit.kernel_error or 0.0) ** 2)


def output_products(layer: Layer, rows: UnitRows, at: Tensor) -> Tensor:
    """Return the inner products (n, n) of the units' outputs over some rows."""
    each, values = rows.each(layer), rows.values[at]
    matrix = output_matrix(layer, each)
    products = (values.T @ values) * (matrix @ matrix.T)
    return products.reshape(layer.width, each, layer.width, each).sum(dim=(1, 3))


@dataclass(frozen=True)
class _Choice:
    """Units that stay, how often each counts, and by which method they were chosen."""

    method: str
    indices: Tensor
    counts: Tensor


def _weighted(products: Tensor, layer: Layer, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose units by non-negative multiplicities; at random where none helps, as where outputs are zero."""
    indices, counts = select_nonnegative(HeldGram(products), products @ layer.multiplicities, size)
    return (indices, counts) if len(indices) else _random(layer, size, seed)


def _random(layer: Layer, size: int, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(layer.width, generator=torch.Generator().manual_seed(seed))
    indices = order[:size].sort().values
    return indices, layer.multiplicities[indices] * (layer.width / size)


def _evaluated(layer: Layer, rows: UnitRows, split: Split, choice: _Choice, seed: int) -> Fit:
    """Return the Fit of a choice: errors of outputs and, where there are kernels, of the worst of these."""
    slim, each = layer.select(choice.indices, choice.counts), rows.each(layer)
    plain = UnitRows(rows.values)
    error = _held_out_error(plain.select(choice.indices, each), slim, plain.outputs_of(layer), split.held)
    if not rows.kernels:
        return Fit(slim, choice.indices, choice.method, error)
    held = split_rows(rows.kernels[0].shape[1], seed).held
    worst = max(
        relative_error(
            (k[choice.indices][:, held][:, :, held] * choice.counts[:, None, None]).sum(0),
            (k[:, held][:, :, held] * layer.multiplicities[:, None, None]).sum(0),
        )
        for k in rows.kernels
    )
    criteria = training_criteria(kernel_error=worst)
    return Fit(slim, choice.indices, choice.method, error, worst, criteria, (MATCHED,))


def plain_fit(
    layer: Layer, rows: UnitRows, method: str, indices: Tensor, counts: Tensor, *, seed: int
) -> Fit:
    """Return the Fit of units that were chosen in any way, with the error of their outputs only."""
    split = split_rows(len(rows.values), seed)
    return _evaluated(layer, replace(rows, kernels=()), split, _Choice(method, indices, counts), seed)


def random_units(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep `size` units drawn at random, each counted n / s times."""
    return plain_fit(layer, rows, "random subset", *_random(layer, size, seed), seed=seed)


def largest_units(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep the `size` units with the largest parameter norm, each counted once."""
    norms = torch.stack([p.square().sum(dim=1) for p in (*layer.incoming, layer.outgoing)]).sum(dim=0)
    indices = norms.topk(size).indices.sort().values
    return plain_fit(layer, rows, "magnitude", indices, layer.multiplicities[indices], seed=seed)


def weighted_units(layer: Layer, rows: UnitRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` units whose non-negative multiplicities reproduce the outputs."""
    products = output_products(layer, rows, split_rows(len(rows.values), seed).fit)
    return plain_fit(layer, rows, "outputs-only NNLS", *_weighted(products, layer, size, seed), seed=seed)
