"""Look at a model once: copy it, read its calibration, record a run and find its blocks."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import nn

from jlab_compress.compression.prepared import HELD_OUT, Prepared
from jlab_compress.execution.inputs import read_batches, without_targets
from jlab_compress.execution.isolation import undisturbed, working_copy
from jlab_compress.execution.models import check_gradient_hooks, check_model, check_values, check_weights
from jlab_compress.execution.randomness import check_seed
from jlab_compress.execution.splits import hold_out, told_apart
from jlab_compress.inspection.block import Blocks
from jlab_compress.inspection.examples import settle_hooks
from jlab_compress.inspection.find import blocks_on
from jlab_compress.inspection.kinds import Kind
from jlab_compress.surroundings import random_states_kept, shielded


@shielded()
@random_states_kept()
def prepare(
    model: nn.Module,
    calibration: Any,
    *,
    limit: int | None = None,
    seed: int = 0,
    kinds: Sequence[Kind] = (),
) -> Prepared:
    """Look at a model once, so that several calls can share what was found.

    Parameters
    ----------
    model : nn.Module
        It stays as it is. Do not train or edit it while what is returned is in use: that is refused.
    calibration : Tensor, tuple, mapping or iterable of these
        Real inputs, without targets: one batch, or a list or loader of batches. They are kept in memory.
    limit : int
        How many batches of the calibration to read; a stream that does not end needs one.
    seed : int
        Of the split into rows to fit to and rows to measure the function gap on.
    kinds : sequence of Kind
        Kinds of blocks to look for besides neurons, channels and heads.

    Returns
    -------
    Prepared
        Cost: three copies of the model, two at a time, of which one is kept; two runs over the calibration,
        and some on eight rows.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be copied, holds NaN or infinite weights or fails on the calibration.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    >>> prepared = prepare(net, torch.randn(40, 2))
    >>> prepared.blocks.named("0").width, prepared.fit[0].rows, prepared.held[0].rows
    (16, 36, 4)
    """
    check_model(model)
    check_values(model)
    check_weights(model)
    check_gradient_hooks(model)
    check_seed(seed)
    with undisturbed(seed=seed):
        calls, cut = read_batches(model, calibration, limit=limit)
    original = working_copy(model)
    settle_hooks(original, calls[0])
    calls, told = without_targets(original, calls)
    calls = told_apart(original, calls)
    trace, blocks = blocks_on(original, calls, kinds=kinds)
    blocks = Blocks(blocks, (*blocks.notes, *told))
    fit, held = hold_out(calls, HELD_OUT, seed)
    rows = (tuple(calls), tuple(fit), tuple(held))
    return Prepared(original, *rows, trace, blocks, seed, cut, weakref.ref(model))


def read_prepared(
    model: nn.Module | Prepared, calibration: Any, *, seed: int, limit: int | None = None
) -> Prepared:
    """Return what a caller has prepared already, or prepare the model.

    Raises
    ------
    ValueError
        If calibration, or a limit to it, comes along with a prepared model, or the model has changed since;
        and as `prepare`.
    """
    if not isinstance(model, Prepared):
        return prepare(model, calibration, limit=limit, seed=seed)
    check_seed(seed)
    for name, value in (("calibration", calibration), ("limit", limit)):
        if value is not None:
            raise ValueError(
                f"{name}: the model was prepared with its calibration; leave it out or prepare again"
            )
    return model.as_it_was()
