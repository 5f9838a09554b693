"""Fewer attention heads: which to keep, how often each counts, and what stands behind them.

What a head computes depends on other positions, so a fit sees recorded values: what each head gave at
the calibration rows and how the block's output answers to its parameters. Channels with depthwise
convolutions behind them are the same kind of object, and "head" means those too here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.aims.moments import fit_moments
from jlab_compress.fitting.criteria import training_criteria
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.forecast.predict import Forecast
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.readout import Readout
from jlab_compress.fitting.row_split import Split, relative_error, split_rows
from jlab_compress.fitting.solvers.least_squares import RIDGE, least_squares
from jlab_compress.fitting.solvers.nnls import select_nonnegative

MATCHED = (
    "matched are the outputs and, on random directions at single positions, the tangent kernel; what is kept "
    "keeps its weights, only multiplicities are fitted"
)


@dataclass(frozen=True)
class HeadRows:
    """What a run of the model says about the heads of one block.

    Parameters
    ----------
    values : Tensor (q, n d)
        What the heads give at each calibration row, head by head.
    kernels : tuple of Tensor (n, P, P)
        Per kind of parameter, each head's inner products of gradients for P probes; none where not taken.
    targets : Tensor (q, n_out) or None
        Outputs to reproduce; those of the block by default.
    readout : Readout
        What stands behind the outputs.
    made_up : int
        How many of the last rows are made up: fits learn from them, but they do not judge.
    """

    values: Tensor
    kernels: tuple[Tensor, ...] = ()
    targets: Tensor | None = None
    readout: Readout = Readout(None, None)  # noqa: RUF009
    made_up: int = 0

    def of(self, layer: Layer) -> Tensor:
        """Return the outputs (q, n_out) of all heads of a layer with those very values."""
        columns = (
            matrix(layer, self.size(layer))
            * layer.multiplicities.repeat_interleave(self.size(layer))[:, None]
        )
        outputs = self.values @ columns
        return outputs if layer.outgoing_bias is None else outputs + layer.outgoing_bias

    def size(self, layer: Layer) -> int:
        """Return the number of values d that each head of a layer gives."""
        return self.values.shape[1] // layer.width

    def select(self, indices: Tensor, size: int) -> HeadRows:
        """Return the rows of the heads at `indices` only."""
        kept = replace(self, values=self.values[:, expanded(indices, size)])
        return replace(kept, kernels=tuple(k[indices] for k in self.kernels))


def expanded(indices: Tensor, size: int) -> Tensor:
    """Return the columns of some heads among `size` columns for each.

    Examples
    --------
    >>> expanded(torch.tensor([2, 0]), 2).tolist()
    [4, 5, 0, 1]
    """
    return (indices[:, None] * size + torch.arange(size, device=indices.device)).flatten()


def matrix(layer: Layer, size: int) -> Tensor:
    """Return the output weights of all heads as one matrix (n d, n_out)."""
    return layer.outgoing.reshape(layer.width, -1, size).transpose(1, 2).flatten(0, 1)


def with_matrix(layer: Layer, columns: Tensor, size: int, bias: Tensor | None) -> Layer:
    """Return the layer with output weights (n d, n_out), each head counted once."""
    rows = columns.reshape(-1, size, columns.shape[1]).transpose(1, 2).flatten(1)
    return layer.with_outgoing(rows, bias)


def greedy_groups(values: Tensor, targets: Tensor, size: int, each: int) -> Tensor:
    """Choose groups of `each` columns one by one, the one that lowers the least-squares error most.

    The block form of `greedy_columns`: what is left of all others is projected away from each chosen group.

    Parameters
    ----------
    values : Tensor (q, n each)
        Columns, group by group.
    targets : Tensor (q, n_out)
        What combinations of columns should reproduce.
    size : int
        Number s of groups.
    each : int
        Columns in a group.

    Returns
    -------
    Tensor (s,)
        Groups in the order of choice. Cost O(q (n d)^2 + s d (n d) (s d + n_out)).

    Examples
    --------
    >>> greedy_groups(torch.eye(4).double(), torch.tensor([[0.0], [1.0], [3.0], [0.0]]).double(), 1, 2)
    tensor([1])
    """
    n = values.shape[1] // each
    gram, moments = values.T @ values, values.T @ targets
    damping = RIDGE * max(float(gram.diagonal().mean()), torch.finfo(gram.dtype).tiny)
    blocks = gram.reshape(n, each, n, each).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    left = blocks.clone() + damping * torch.eye(each, dtype=gram.dtype)
    factor, chosen = gram.new_zeros(size * each, n * each), list[int]()
    for step in range(size):
        inner = moments.reshape(n, each, -1)
        gains = (inner * torch.linalg.solve(left, inner)).sum(dim=(1, 2))
        gains[chosen] = -1.0
        best = int(gains.argmax())
        own = slice(best * each, (best + 1) * each)
        done = factor[: step * each]
        root = torch.linalg.cholesky(left[best])
        rows = torch.linalg.solve_triangular(root, gram[own] - done[:, own].T @ done, upper=False)
        rows[:, own] = root.T
        moments = moments - rows.T @ torch.linalg.solve_triangular(root, moments[own].clone(), upper=False)
        parts = rows.reshape(each, n, each)
        left = left - torch.einsum("anb,anc->nbc", parts, parts)
        left = left + damping * torch.eye(each, dtype=gram.dtype)
        factor[step * each : (step + 1) * each] = rows
        chosen.append(best)
    return torch.tensor(chosen)


def fit_heads_function(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep the `size` heads that carry the outputs best, with refitted output weights and bias.

    Parameters
    ----------
    layer : Layer
        n heads, as `read_recorded` gives them.
    rows : HeadRows
        Calibration.
    size : int
        Heads to keep.
    seed : int
        Of the split into rows to fit on and rows to judge on.

    Returns
    -------
    Fit
        Queries, keys and values untouched, every head counted once; the bias stays away where there was
        none. With a readout the better of two choices on held-out rows: weighted as it counts outputs, and
        plain; judged behind it, before a last refit on all rows.
    """
    total, each = len(rows.values), rows.size(layer)
    split = split_rows(total - rows.made_up, seed)
    learn = torch.cat([split.fit, torch.arange(total - rows.made_up, total)])
    wanted = rows.of(layer) if rows.targets is None else rows.targets
    importance = rows.readout.importance(wanted, torch.arange(len(wanted)))

    def refitted(indices: Tensor, weights: Tensor, at: Tensor) -> Layer:
        values = rows.select(indices, each).values
        found = least_squares(values[at], wanted[at], intercept=layer.biased, weights=weights[at])
        return with_matrix(layer.select(indices), found[0], each, found[1])

    tried = []
    for counted in (importance, torch.ones_like(importance)):
        weights = counted.mean(dim=1)
        indices = _chosen(layer, rows.values[learn], wanted[learn], counted[learn], size)
        slim = refitted(indices, weights, learn)
        error = _held_out(rows.select(indices, each), slim, wanted, split.held)
        tried.append((error, indices, weights))
        if rows.readout.transform is None:
            break
    error, indices, weights = min(tried, key=lambda one: one[0])
    final = refitted(indices, weights, torch.arange(len(wanted)))
    return Fit(final, indices, "greedy + refit", error)


def _chosen(layer: Layer, values: Tensor, wanted: Tensor, importance: Tensor, size: int) -> Tensor:
    """Choose heads greedily where each row and each output counts as it is important."""
    weights = importance.mean(dim=1)
    metric = (importance / weights[:, None]).mean(dim=0).sqrt()
    root = (weights / weights.mean()).sqrt()[:, None]
    share = float(layer.biased)
    centred = [(t - share * (root**2 * t).mean(dim=0)) * root for t in (values, wanted)]
    each = values.shape[1] // layer.width
    return greedy_groups(centred[0], centred[1] * metric, size, each).sort().values


def _held_out(rows: HeadRows, slim: Layer, wanted: Tensor, held: Tensor) -> float:
    outputs = replace(rows, values=rows.values[held]).of(slim)
    return relative_error(rows.readout(outputs, held), rows.readout(wanted[held], held))


@dataclass(frozen=True)
class _Gram:
    """Inner products of the heads' features, known all at once."""

    products: Tensor

    def columns(self, indices: Tensor) -> Tensor:
        return self.products[:, indices]

    def diagonal(self) -> Tensor:
        return self.products.diagonal()


def fit_heads_dynamics(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` heads with non-negative multiplicities that match outputs and tangent kernel.

    Parameters are those of `fit_heads_function`; the rows need kernels.

    Returns
    -------
    Fit
        Untouched heads with multiplicities: of {outputs and kernel, outputs only, a random subset counted
        n / s times} the best on held-out rows and probes.
    """
    split = split_rows(len(rows.values), seed)
    probes = split_rows(rows.kernels[0].shape[1], seed) if rows.kernels else None
    outputs = output_gram(layer, rows, split.fit)
    both = outputs / outputs.sum()
    for kernel in rows.kernels:
        assert probes is not None
        flat = kernel[:, probes.fit][:, :, probes.fit].flatten(1)
        both = both + flat @ flat.T / flat.sum(dim=0).square().sum()
    found = [
        ("multiplicities for outputs and kernel", *_counted(both, layer, size)),
        ("multiplicities for outputs", *_counted(outputs, layer, size)),
        ("random subset", *_random(layer, size, seed)),
    ]
    fits = [_judged(layer, rows, split, probes, *one) for one in found]
    return min(fits, key=lambda fit: fit.function_error**2 + (fit.kernel_error or 0.0) ** 2)


def output_gram(layer: Layer, rows: HeadRows, at: Tensor) -> Tensor:
    """Return the inner products (n, n) of the heads' outputs over some rows."""
    each, values = rows.size(layer), rows.values[at]
    columns = matrix(layer, each)
    products = (values.T @ values) * (columns @ columns.T)
    return products.reshape(layer.width, each, layer.width, each).sum(dim=(1, 3))


def _counted(gram: Tensor, layer: Layer, size: int) -> tuple[Tensor, Tensor]:
    moments = gram @ layer.multiplicities
    return select_nonnegative(_Gram(gram), moments, size)


def _random(layer: Layer, size: int, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(layer.width, generator=torch.Generator().manual_seed(seed))
    indices = order[:size].sort().values
    return indices, layer.multiplicities[indices] * (layer.width / size)


def _judged(
    layer: Layer,
    rows: HeadRows,
    split: Split,
    probes: Split | None,
    method: str,
    indices: Tensor,
    counts: Tensor,
) -> Fit:
    slim, each = layer.select(indices, counts), rows.size(layer)
    plain = replace(rows, readout=Readout(None, None))
    error = _held_out(plain.select(indices, each), slim, plain.of(layer), split.held)
    if probes is None:
        return Fit(slim, indices, method, error)
    worst = max(
        relative_error(
            (k[indices][:, probes.held][:, :, probes.held] * counts[:, None, None]).sum(0),
            (k[:, probes.held][:, :, probes.held] * layer.multiplicities[:, None, None]).sum(0),
        )
        for k in rows.kernels
    )
    criteria = training_criteria(kernel_error=worst)
    return Fit(slim, indices, method, error, worst, criteria, (MATCHED,))


def fit_heads_moments(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` heads with the same parameter moments; refuses, naming N, as `fit_moments`."""
    made = fit_moments(layer, size, seed=seed)
    if made.indices is None:
        return made
    judged = _judged(
        layer,
        replace(rows, kernels=()),
        split_rows(len(rows.values), seed),
        None,
        made.method,
        made.indices,
        made.layer.multiplicities,
    )
    return replace(made, function_error=judged.function_error)


def random_heads(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep `size` heads drawn at random, each counted n / s times."""
    return _plain(layer, rows, "random subset", *_random(layer, size, seed), seed)


def largest_heads(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep the `size` heads with the largest parameter norm, each counted once."""
    norms = torch.stack([p.square().sum(dim=1) for p in (*layer.incoming, layer.outgoing)]).sum(dim=0)
    indices = norms.topk(size).indices.sort().values
    return _plain(layer, rows, "magnitude", indices, layer.multiplicities[indices], seed)


def counted_heads(layer: Layer, rows: HeadRows, size: int, *, seed: int = 0) -> Fit:
    """Keep at most `size` heads whose non-negative counts reproduce the outputs."""
    gram = output_gram(layer, rows, split_rows(len(rows.values), seed).fit)
    return _plain(layer, rows, "outputs-only NNLS", *_counted(gram, layer, size), seed)


def _plain(layer: Layer, rows: HeadRows, method: str, indices: Tensor, counts: Tensor, seed: int) -> Fit:
    return _judged(layer, rows, split_rows(len(rows.values), seed), None, method, indices, counts)


def predict_head_errors(layer: Layer, rows: HeadRows, widths: Sequence[int], *, seed: int = 0) -> Forecast:
    """Return the held-out errors of the fits themselves at each number of heads: they are few."""
    function, kernel = [], []
    for width in widths:
        whole = width == layer.width
        function.append(0.0 if whole else fit_heads_function(layer, rows, width, seed=seed).function_error)
        fit = None if whole or not rows.kernels else fit_heads_dynamics(layer, rows, width, seed=seed)
        kernel.append(0.0 if fit is None or fit.kernel_error is None else fit.kernel_error)
    return Forecast(tuple(widths), tuple(function), tuple(kernel))
