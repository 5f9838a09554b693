"""Fit the heads of one attention block of a running model, or its channels with layers between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jlab_compress.compression.fits.site import Site
from jlab_compress.compression.signals.augmentation import augmented
from jlab_compress.compression.signals.block_rows import gather_inputs, gather_rows
from jlab_compress.compression.signals.layer_rows import rows_with_graph
from jlab_compress.execution.calls import Call
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.fitting.aims.activation_only import UnitRows
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.forecast.forecast import Forecast, predict_unit_errors
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.slim.surgery import open_layers
from jlab_compress.slim.units import UnitAxis

PROBES = 96
PROBED_CALLS = 4
PROBED_ROWS = 8

UnitFit = Callable[..., Fit]


def unit_start(
    fit: UnitFit, *, kernels: bool = False, synthetic: bool = False, behind: bool = True
) -> Callable[[Site, int], Fit]:
    """Return a start for activation-only blocks: `fit` on what their units gave.

    Parameters
    ----------
    fit : callable
        From (layer, rows, size) and a seed to a Fit, as in `jlab_compress.fitting.aims.activation_only`.
    kernels : bool
        Whether it looks at the units' tangent kernels.
    synthetic : bool
        Whether rows of augmented calibration follow.
    behind : bool
        Whether outputs are compared behind the residual stream and its norm.
    """

    def start(site: Site, size: int) -> Fit:
        rows = unit_rows(site, synthetic=synthetic)
        rows = rows if behind else replace(rows, post_norm=PostNormMap())
        rows = replace(rows, kernels=unit_kernels(site)) if kernels else rows
        return fit(site.layer, rows, size, seed=site.seed)

    return start


def forecast_units(site: Site, widths: Sequence[int]) -> Forecast:
    """Return the held-out errors of a block's fits at several numbers of units; the model ends as it was."""
    before = Snapshot.of(site.slim)
    try:
        rows = replace(unit_rows(site), kernels=unit_kernels(site))
        return predict_unit_errors(site.layer, rows, widths, seed=site.seed)
    finally:
        before.put_back()


def unit_rows(site: Site, *, synthetic: bool = False) -> UnitRows:
    """Return what a block's units give on the calibration, and what their outputs go through.

    The goal is what the block itself would give in the slim model so far. Units that also make up for the
    errors of earlier slim blocks fit each row better and the whole model worse.
    """
    slim, block, calls, seed = site.slim, site.block, site.calls, site.seed
    if block.channelwise:
        return UnitRows(gather_inputs(slim, block.outgoing, calls, seed=seed))
    open_layers(slim, block)
    goal = gather_rows(slim, slim, block, calls, inside=True, seed=seed)
    if synthetic and (more := augmented(calls, seed=seed)):
        goal = goal.joined(gather_rows(slim, slim, block, more, inside=True, seed=seed))
    return UnitRows(goal.inputs, post_norm=goal.post_norm, synthetic=goal.synthetic)


def unit_kernels(site: Site) -> tuple[Tensor, Tensor]:
    """Return each unit's inner products of gradients for random probes, (n, P, P), in float64.

    A probe is a random direction of the block's output at one calibration row. First come the gradients
    of queries, keys and values together, then those of the output weights.

    Notes
    -----
    Cost: at most 4 runs of the model up to the block on 8 rows each, and 96 backward passes through the
    block; P times the block's parameters in memory.
    """
    slim, block, seed = site.slim, site.block, site.seed
    open_layers(slim, block)
    values = {unit: getattr(slim.get_submodule(unit.module), unit.tensor) for unit in block.units}
    free = {unit: value for unit, value in values.items() if isinstance(value, torch.nn.Parameter)}
    flags = {p: p.requires_grad for p in slim.parameters()}
    generator = torch.Generator().manual_seed(seed)
    found: list[tuple[Tensor, Tensor]] = []
    chosen = _few(site.calls, generator)
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


def _few(calls: Sequence[Call], generator: torch.Generator) -> list[Call]:
    """Return at most four calls with at most eight rows each, where rows can be taken apart."""
    few = []
    for index in torch.randperm(len(calls), generator=generator)[:PROBED_CALLS].tolist():
        rows = torch.randperm(calls[index].rows, generator=generator)[:PROBED_ROWS]
        few.append(calls[index].take(rows) or calls[index])
    return few
