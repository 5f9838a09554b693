"""The pipe from a model to a slim one: find blocks, read each, fit fewer neurons, put them in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.compression.fits.activation_only import fit_heads
from jlab_compress.compression.joint.distillation import distill
from jlab_compress.compression.joint.first_step import evaluate_first_step
from jlab_compress.compression.joint.kernel_matching import match_kernels, matchable
from jlab_compress.compression.joint.refinement import Outcome, Refinement, is_refined, needs_whole
from jlab_compress.compression.notes import notes_on
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.signals.block_rows import gather_inputs, gather_rows
from jlab_compress.compression.slim_report import summarise
from jlab_compress.compression.widths.request import check_round_to
from jlab_compress.compression.widths.sweep import Within, expectations, streamed, wanted_widths
from jlab_compress.execution.augmentation import augmented
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.outputs import outputs_on
from jlab_compress.execution.progress import Progress, Step, follow
from jlab_compress.execution.randomness import random_states_kept
from jlab_compress.execution.splits import first_rows
from jlab_compress.fitting.criteria import EXACT
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.layer import Layer, is_homogeneous
from jlab_compress.inspection.block import Block
from jlab_compress.report import Report
from jlab_compress.slim.attributes import rename_config
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.layers import on_cpu, read_layer
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.surgery import write_layer

NEARER = (
    "Greedy selection with refit was kept: moved together, the blocks had a function gap of {:.2g} on "
    "held-out rows, where it has {:.2g}."
)


@dataclass(frozen=True)
class Method:
    """A way to fit one layer.

    Parameters
    ----------
    name : str
        As it stands in the plan.
    fit : callable
        From (layer, rows, size, effort, step) to a Fit.
    aims : bool
        Whether the fit uses the targets, and the post-norm map of its rows.
    kernels : bool
        Whether blocks that are polished together are also to train alike.
    tangents : bool
        Whether several blocks are moved together for the tangent kernel of the whole network.
    streamed : Method, optional
        What takes its place where neurons, or several blocks, write into a residual stream, and for blocks
        that need the whole network.
    rival : Method, optional
        Whose slim model is taken instead of one that was moved together, where its function gap is smaller.
    """

    name: str
    fit: Callable[[Layer, FitRows, int, Effort, Step], Fit]
    aims: bool = False
    kernels: bool = False
    tangents: bool = False
    streamed: Method | None = None
    rival: Method | None = None


@random_states_kept()
def shrink(
    prepared: Prepared,
    widths: Any,
    *,
    method: Method,
    seed: int,
    effort: Effort = NORMAL,
    plain: bool = False,
    round_to: int = 1,
    progress: Progress = False,
) -> tuple[nn.Module, Plan, Report]:
    """Return the slim model, its plan and its report, by any way to fit one layer.

    Parameters are those of `compress`, with the method in place of its name.
    """
    check_round_to(round_to)
    original, blocks, train, held = (
        prepared.original,
        prepared.blocks,
        list(prepared.fit),
        list(prepared.held),
    )
    how: dict[str, Any] = {"seed": seed, "effort": effort}
    wanted = wanted_widths(original, widths, blocks, train, round_to=round_to, **how)
    chosen = [block for block in blocks if block.name in wanted]
    if plain:
        _check_plain(chosen)
    running = prepared.trace.modules
    narrow = partial(
        _narrow, original, running, chosen, wanted, train, held, plain=plain, seed=seed, effort=effort
    )
    made = narrow(method, progress=progress)
    notes = made.notes
    if method.rival is not None and made.moved:
        with follow(progress, f"{method.rival.name} selection, to compare") as step:
            other = narrow(method.rival, progress=False)
            step(1, 1)
        if other.gap < made.gap:
            made, notes = other, (NEARER.format(made.gap, other.gap), *other.notes)
    notes = (*notes, *notes_on(original, chosen, made.fits, cut=prepared.cut, held=bool(held)))
    if not isinstance(widths, Mapping):
        notes = (*notes, *blocks.left_out)
    if widths == "polylog" or isinstance(widths, Within):
        aims = method.aims or made.method.aims
        notes = (*expectations(original, chosen, train, wanted, aims=aims, **how), *notes)
    table = summarise(original, made.slim, chosen, made.fits, made.gap, first_rows(prepared.calls[0]), notes)
    return made.slim, made.plan, table


@dataclass(frozen=True)
class Narrowed:
    """A slim model by one method.

    Parameters
    ----------
    slim, plan, fits
        The model, and what each of its blocks became.
    gap : float
        The function gap on held-out rows.
    method : Method
        As it was used.
    notes : tuple of str
        On blocks that were moved together, and on how they were judged.
    """

    slim: nn.Module
    plan: Plan
    fits: dict[str, Fit]
    gap: float
    method: Method
    notes: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether blocks were moved together."""
        return any(is_refined(fit) for fit in self.fits.values())


def _narrow(
    original: nn.Module,
    running: tuple[str, ...],
    chosen: list[Block],
    wanted: Mapping[str, int],
    train: list[Call],
    held: list[Call],
    method: Method,
    *,
    plain: bool,
    seed: int,
    effort: Effort,
    progress: Progress,
) -> Narrowed:
    slim = copy_model(original)
    rows = (tuple(train), tuple(held))
    task = Refinement(original, slim, tuple(chosen), running, *rows, seed, effort, progress)
    if method.streamed is not None and streamed(chosen):
        method = method.streamed
    apart = matchable(task) if method.streamed is not None else ()
    whole = {b.name: method.streamed for b in apart if needs_whole(b)}
    fits: dict[str, Fit] = {}
    counts: dict[str, tuple[float, ...]] = {}
    for number, block in enumerate(chosen, 1):
        with follow(progress, block.name, f"block {block.name}: {number} of {len(chosen)}") as step:
            size, moved = wanted[block.name], bool(fits)
            way = whole.get(block.name) or method
            given: dict[str, Any] = {"moved": moved, "seed": seed, "effort": effort, "step": step}
            made = _fit_block(original, slim, block, train, size, way, **given)
        counts[block.name] = tuple(made.layer.multiplicities.tolist())
        fits[block.name] = replace(made, layer=plain_gauge(made.layer)) if plain else made
        _put(slim, block, fits[block.name], train, seed=seed)
    refined = Outcome(fits)
    if method.aims:
        refined = distill(task, fits, kernels=method.kernels)
    elif method.tangents:
        refined = match_kernels(task, fits)
    fits = dict(refined.fits)
    plan = Plan(
        tuple(_planned(block, fits[block.name], counts[block.name], plain) for block in chosen),
        method.name,
        seed,
    )
    attach_plan(slim, plan)
    rename_config(slim, plan.blocks)
    judged = Outcome(fits)
    if method.kernels or (method.tangents and whole):
        judged = evaluate_first_step(task, fits)
    judged_on = held or train
    gap = function_gap(outputs_on(original, judged_on), outputs_on(slim, judged_on))
    return Narrowed(slim, plan, dict(judged.fits), gap, method, (*refined.notes, *judged.notes))


def _check_plain(blocks: list[Block]) -> None:
    for block in blocks:
        if block.norm is not None:
            raise ValueError(
                f"plain: block {block.name} has the batch norm {block.norm}, which undoes any scale of its "
                "neurons, so their multiplicities must stay; pass plain=False"
            )
        if block.activation_only:
            what = "attention heads" if block.kind == "attention" else "channels with layers between"
            raise ValueError(
                f"plain: block {block.name} holds {what}, whose multiplicities must stay; pass plain=False"
            )
        if len(block.incoming) > 1 or block.activation is None or not is_homogeneous(block.activation):
            raise ValueError(
                f"plain: block {block.name} has the activation {block.activation_name}, for which "
                "act(t a) = t act(a) does not hold, so its multiplicities must stay; pass plain=False"
            )


def plain_gauge(layer: Layer) -> Layer:
    """Return the layer with c = 1 and theta_j times sqrt(c_j), for positively homogeneous activations."""
    return layer.regauged(torch.ones_like(layer.multiplicities))


def _fit_block(
    original: nn.Module,
    slim: nn.Module,
    block: Block,
    calls: list[Call],
    size: int,
    method: Method,
    *,
    moved: bool,
    seed: int,
    effort: Effort,
    step: Step,
) -> Fit:
    layer = read_layer(slim, block, block.activation)
    distinct = merge_duplicates(layer)
    if distinct.width <= size:
        words = "exact duplicates" if distinct.width < layer.width else "kept"
        return Fit(distinct, first_copies(layer, distinct), words, 0.0, 0.0, EXACT)
    if block.activation_only:
        return fit_heads(slim, block, size, method.name, calls=calls, seed=seed)
    if method.aims and block.kind != "conv":
        place = (block.incoming[0], block.outgoing, block.residual)
        rows = gather_rows(original, slim, place, calls, moved=moved, seed=seed)
        if views := augmented(calls, seed=seed):
            rows = rows.joined(gather_rows(original, slim, place, views, moved=moved, seed=seed))
    else:
        rows = FitRows(gather_inputs(slim, block.incoming[0], calls, seed=seed))
    try:
        return method.fit(on_cpu(layer), rows, size, effort, step)
    except ValueError as error:
        raise ValueError(f"block {block.name}: {error}") from error


def first_copies(layer: Layer, distinct: Layer) -> Tensor:
    """Return, for each neuron of `distinct` (s of them), the index of its first copy in `layer`."""
    found: dict[bytes, int] = {}
    for index, row in enumerate(_neurons(layer)):
        found.setdefault(row, index)
    return torch.tensor([found[row] for row in _neurons(distinct)])


def _neurons(layer: Layer) -> list[bytes]:
    biases = [b[:, None] for b in layer.biases if b is not None]
    rows = torch.cat([*layer.incoming, *biases, layer.outgoing], dim=1) + 0.0
    return [row.tobytes() for row in rows.cpu().numpy()]


def _put(slim: nn.Module, block: Block, fit: Fit, calls: list[Call], *, seed: int) -> None:
    inputs = None
    if block.norm is not None and fit.indices is None:
        inputs = gather_inputs(slim, block.incoming[0], calls, seed=seed)
    write_layer(slim, block, fit.layer, indices=fit.indices, inputs=inputs)


def _planned(block: Block, fit: Fit, counts: tuple[float, ...], plain: bool) -> BlockPlan:
    single = set(counts) == {1.0}
    return BlockPlan(
        name=block.name,
        kind=block.kind,
        units=block.units,
        width_before=block.width,
        width_after=fit.layer.width,
        method=fit.method,
        gauge="plain" if plain and not single else "weighted",
        indices=None if fit.indices is None else tuple(fit.indices.tolist()),
        multiplicities=counts if plain and not single else None,
        activation_only=block.activation_only,
    )
