"""A model that has been looked at once: what every further question about it starts from."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_batches
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.models import check_model, check_weights
from jlab_compress.execution.randomness import check_seed, random_states_kept
from jlab_compress.execution.splits import hold_out
from jlab_compress.graph.trace import Trace
from jlab_compress.inspection.block import Blocks
from jlab_compress.inspection.find import blocks_on
from jlab_compress.inspection.kinds import Kind

HELD_OUT = 0.1


@dataclass(frozen=True)
class Prepared:
    """A copy of a model, the calls to calibrate it with, one recorded run and its blocks.

    Pass it in place of the model to `compress`, `compress_baseline`, `sweep` and `allocate_widths`: they then
    copy, record and search nothing again.

    Parameters
    ----------
    original : nn.Module
        The copy. It is never changed.
    calls : tuple of Call
        The whole calibration, on the model's device.
    fit, held : tuple of Call
        Nine rows in ten to fit to, and one in ten on which the function gap of a slim model is measured.
    trace : Trace
        One recorded run, on the first rows.
    blocks : Blocks
        As `find_blocks` gives them.
    seed : int
        Of the split into rows.
    cut : bool
        Whether batches held more values (targets) than the model takes; these were left out.
    source : weakref to nn.Module
        The caller's model, which must not change while this is in use.
    """

    original: nn.Module
    calls: tuple[Call, ...]
    fit: tuple[Call, ...]
    held: tuple[Call, ...]
    trace: Trace = field(repr=False)
    blocks: Blocks
    seed: int
    cut: bool
    source: weakref.ref[nn.Module] = field(repr=False)

    @property
    def unseen(self) -> tuple[Call, ...]:
        """The held-out rows; those that were fitted to where there were too few to keep some apart."""
        return self.held or self.fit

    def change(self) -> str | None:
        """Return what of the caller's model is no longer as it was, by its dotted path; None if it is all."""
        source = self.source()
        return None if source is None else _change(self.original, source)

    def on(self, calls: Sequence[Call], *, seed: int) -> Prepared:
        """Return the same with a part of the calibration, split anew."""
        fit, held = hold_out(list(calls), HELD_OUT, seed)
        return replace(self, calls=tuple(calls), fit=tuple(fit), held=tuple(held), seed=seed)

    def __repr__(self) -> str:
        return repr(self.blocks)

    def _repr_html_(self) -> str:
        return self.blocks._repr_html_()


@random_states_kept()
def prepare(model: nn.Module, calibration: Any, *, seed: int = 0, kinds: Sequence[Kind] = ()) -> Prepared:
    """Look at a model once, so that several calls can share what was found.

    Parameters
    ----------
    model : nn.Module
        It stays as it is. Do not train or edit it while what is returned is in use: that is refused.
    calibration : Tensor, tuple, mapping or iterable of these
        Real inputs, without targets: one batch, or a list or loader of batches. They are kept in memory.
    seed : int
        Of the split into rows to fit to and rows to measure the function gap on.
    kinds : sequence of Kind
        Kinds of blocks to look for besides neurons, channels and heads.

    Returns
    -------
    Prepared
        Cost: two copies of the model, of which one is kept; a recorded run and a few more on eight rows.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be copied, holds NaN or infinite weights or fails on the calibration.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    >>> prepared = prepare(net, torch.randn(40, 2))
    >>> prepared.blocks.named("0").width, prepared.fit[0].rows, prepared.held[0].rows
    (16, 36, 4)
    """
    check_model(model)
    check_weights(model)
    check_seed(seed)
    with undisturbed(seed=seed):
        calls, cut = read_batches(model, calibration)
    original = copy_model(model)
    trace, blocks = blocks_on(original, calls, kinds=kinds)
    fit, held = hold_out(calls, HELD_OUT, seed)
    rows = (tuple(calls), tuple(fit), tuple(held))
    return Prepared(original, *rows, trace, blocks, seed, cut, weakref.ref(model))


def read_prepared(model: nn.Module | Prepared, calibration: Any, *, seed: int) -> Prepared:
    """Return what a caller has prepared already, or prepare the model.

    Raises
    ------
    ValueError
        If calibration comes along with a prepared model, or the model has changed since; and as `prepare`.
    """
    if not isinstance(model, Prepared):
        return prepare(model, calibration, seed=seed)
    check_seed(seed)
    if calibration is not None:
        raise ValueError(
            "calibration: the model was prepared with its calibration; leave it out or prepare again"
        )
    change = model.change()
    if change is not None:
        raise ValueError(f"model: {change} has changed since the model was prepared; prepare it again")
    return model


def _change(before: nn.Module, now: nn.Module) -> str | None:
    """Return the first module, parameter, buffer or plain attribute that is no longer as it was."""
    for read, same in ((_classes, operator.is_), (_tensors, _same), (_attributes, operator.eq)):
        was, found = read(before), read(now)
        for name in (*was, *found):
            if not same(was.get(name), found.get(name)):
                return name
    return None


def _classes(model: nn.Module) -> Mapping[str, Any]:
    return {f"module {name}" if name else "its class": type(m) for name, m in model.named_modules()}


def _tensors(model: nn.Module) -> Mapping[str, Any]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _attributes(model: nn.Module) -> Mapping[str, Any]:
    """Return the modules' own numbers and words, such as a slope, as text; `training` is none of them."""
    stock, plain = vars(nn.Module()), (bool, int, float, str)
    return {
        f"{name}.{key}".strip("."): repr(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in stock and type(value) in plain
    }


def _same(before: Tensor | None, now: Tensor | None) -> bool:
    if before is None or now is None or before.dtype != now.dtype or before.device != now.device:
        return before is now
    if torch.equal(before, now) or before.shape != now.shape or not before.is_floating_point():
        return torch.equal(before, now)
    return torch.allclose(before, now, rtol=0.0, atol=0.0, equal_nan=True)
