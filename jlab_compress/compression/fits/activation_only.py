"""Fit the heads of one attention block of a running model, or its channels with layers between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.block_rows import gather_inputs, gather_rows
from jlab_compress.compression.signals.layer_rows import rows_with_graph
from jlab_compress.execution.augmentation import augmented
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.aims import activation_only as fits
from jlab_compress.fitting.aims.activation_only import UnitRows
from jlab_compress.fitting.aims.moments import fit_units_moments
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.forecast.forecast import Forecast, predict_unit_errors
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import on_cpu, read_layer
from jlab_compress.slim.surgery import open_layers
from jlab_compress.slim.units import UnitAxis

PROBES = 96
PROBED_CALLS = 4
PROBED_ROWS = 8

_FITS: dict[str, Callable[..., Fit]] = {
    "dynamics": fits.fit_units_dynamics,
    "function": fits.fit_units_function,
    "moments": fit_units_moments,
    "random": fits.random_units,
    "magnitude": fits.largest_units,
    "greedy": fits.fit_units_function,
    "nnls": fits.weighted_units,
}


def fit_heads(slim: nn.Module, block: Block, size: int, method: str, *, calls: list[Call], seed: int) -> Fit:
    """Return `size` objects for a block, by an aim of `compress` or a method of `compress_baseline`.

    Raises
    ------
    ValueError
        If the method needs to compute what an object gives.
    """
    if method not in _FITS:
        raise ValueError(
            f"method: block {block.name} is known by its recorded values only (heads, or channels with "
            f"layers between), for which {method!r} is not defined; expected one of {sorted(_FITS)}"
        )
    layer = on_cpu(read_layer(slim, block))
    rows = head_rows(slim, block, calls, views=method == "function", seed=seed)
    if method == "greedy":
        rows = replace(rows, post_norm=PostNormMap())
    if method == "dynamics":
        rows = replace(rows, kernels=head_kernels(slim, block, calls, seed=seed))
    return _FITS[method](layer, rows, size, seed=seed)


def forecast_heads(
    model: nn.Module, block: Block, calls: list[Call], widths: Sequence[int], *, seed: int
) -> Forecast:
    """Return the held-out errors of a block's fits at several numbers of heads."""
    layer = on_cpu(read_layer(model, block))
    rows = head_rows(model, block, calls, seed=seed)
    rows = replace(rows, kernels=head_kernels(model, block, calls, seed=seed))
    return predict_unit_errors(layer, rows, widths, seed=seed)


def head_rows(
    slim: nn.Module, block: Block, calls: list[Call], *, views: bool = False, seed: int
) -> UnitRows:
    """Return what a block's heads give in `slim` on the calibration, and what stands behind them.

    The goal is what the block itself would give there. Heads that also make up for the errors of earlier
    slim blocks fit each row better and the whole model worse. With `views` rows from exchanged views of the
    calibration follow.
    """
    if block.chain:
        return UnitRows(gather_inputs(slim, block.outgoing, calls, seed=seed))
    open_layers(slim, block)
    place = (block.outgoing, block.outgoing, block.residual)
    goal = gather_rows(slim, slim, place, calls, moved=False, scaled=False, seed=seed)
    if views and (synthetic := augmented(calls, seed=seed)):
        goal = goal.joined(gather_rows(slim, slim, place, synthetic, moved=False, scaled=False, seed=seed))
    return UnitRows(goal.inputs, post_norm=goal.post_norm, synthetic=goal.synthetic)


def head_kernels(slim: nn.Module, block: Block, calls: list[Call], *, seed: int) -> tuple[Tensor, Tensor]:
    """Return each head's inner products of gradients for random probes, (n, P, P), in float64.

    A probe is a random direction of the block's output at one calibration row. First come the gradients
    of queries, keys and values together, then those of the output weights.

    Notes
    -----
    Cost: at most 4 runs of the model up to the block on 8 rows each, and 96 backward passes through the
    block; P times the block's parameters in memory.
    """
    open_layers(slim, block)
    values = {unit: getattr(slim.get_submodule(unit.module), unit.tensor) for unit in block.units}
    free = {unit: value for unit, value in values.items() if isinstance(value, torch.nn.Parameter)}
    flags = {p: p.requires_grad for p in slim.parameters()}
    generator = torch.Generator().manual_seed(seed)
    found: list[tuple[Tensor, Tensor]] = []
    chosen = _few(calls, generator)
    try:
        for p in flags:
            p.requires_grad_(False)
        for p in free.values():
            p.requires_grad_(True)
        for number, call in enumerate(chosen):
            outputs = rows_with_graph(slim, call, block.outgoing)
            count = PROBES // len(chosen) + (number < PROBES % len(chosen))
            for row in torch.randint(len(outputs), (count,), generator=generator).tolist():
                probe = torch.randn(outputs.shape[1], generator=generator).to(outputs)
                gradients = torch.autograd.grad(outputs[row], list(free.values()), probe, retain_graph=True)
                rows = [(unit, unit.rows(g)) for unit, g in zip(free, gradients, strict=True)]
                found.append((_joined(rows, "makes", "treats"), _joined(rows, "reads")))
    finally:
        for p, flag in flags.items():
            p.requires_grad_(flag)
    order = torch.randperm(len(found), generator=generator).tolist()
    return _products([found[i][0] for i in order]), _products([found[i][1] for i in order])


def _joined(rows: Sequence[tuple[UnitAxis, Tensor]], *roles: str) -> Tensor:
    return torch.cat([values for unit, values in rows if unit.role in roles], dim=1).float().cpu()


def _products(gradients: list[Tensor]) -> Tensor:
    rows = torch.stack(gradients, dim=1)
    products = (rows @ rows.transpose(1, 2)).double()
    scale = products.sum(dim=0).diagonal().clamp_min(torch.finfo(products.dtype).tiny).sqrt()
    return products / scale[:, None] / scale


def _few(calls: list[Call], generator: torch.Generator) -> list[Call]:
    """Return at most four calls with at most eight rows each, where rows can be taken apart."""
    few = []
    for index in torch.randperm(len(calls), generator=generator)[:PROBED_CALLS].tolist():
        rows = torch.randperm(calls[index].rows, generator=generator)[:PROBED_ROWS]
        few.append(calls[index].take(rows) or calls[index])
    return few
