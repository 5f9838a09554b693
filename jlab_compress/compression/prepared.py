"""A model that has been looked at once: what every further question about it starts from."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.execution.splits import hold_out
from jlab_compress.graph.trace import Trace
from jlab_compress.inspection.block import Blocks

HELD_OUT = 0.1


@dataclass(frozen=True, eq=False)
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
    _untouched: Snapshot = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_untouched", Snapshot.of(self.original))

    def as_it_was(self) -> Prepared:
        """Return this, without what a call that was interrupted has left on the copy, such as a hook.

        Raises
        ------
        ValueError
            If the caller's model has changed since.
        """
        self._untouched.put_back()
        change = self.change()
        if change is not None:
            raise ValueError(f"model: {change} has changed since the model was prepared; prepare it again")
        return self

    @property
    def unseen(self) -> tuple[Call, ...]:
        """The held-out rows; those that fits see where there were too few to hold some out."""
        return self.held or self.fit

    def change(self) -> str | None:
        """Return what of the caller's model is no longer as it was, by its dotted path; None if it is all."""
        source = self.source()
        return None if source is None else _change(self.original, source)

    def copied(self) -> nn.Module:
        """Return a copy to work on, each module in the mode that the caller's model is in now."""
        made, source = copy_model(self.original), self.source()
        for module, now in zip(made.modules(), () if source is None else source.modules(), strict=False):
            module.training = now.training
        return made

    def on(self, calls: Sequence[Call], *, seed: int) -> Prepared:
        """Return the same with a part of the calibration, split anew."""
        fit, held = hold_out(list(calls), HELD_OUT, seed)
        return replace(self, calls=tuple(calls), fit=tuple(fit), held=tuple(held), seed=seed)

    def __repr__(self) -> str:
        return repr(self.blocks)

    def _repr_html_(self) -> str:
        return self.blocks._repr_html_()


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
    """Return the modules' own numbers, words, tuples and functions, such as a slope or a padding.

    And which hooks they have that run with forward; `training` is none of them.
    """
    stock, found = vars(nn.Module()), dict[str, Any]()
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            path = f"{name}.{key}".strip(".")
            if key in ("_forward_hooks", "_forward_pre_hooks"):
                found[path] = list(value)
            elif key not in stock and _is_plain(value):
                found[path] = repr(value)
            elif isinstance(value, FunctionType | BuiltinFunctionType):
                found[path] = value
    return found


def _is_plain(value: Any) -> bool:
    """Tell whether a copy of a value prints as the value does."""
    return type(value) in (bool, int, float, str) or (
        isinstance(value, tuple) and all(_is_plain(each) for each in value)
    )


def _same(before: Tensor | None, now: Tensor | None) -> bool:
    if before is None or now is None or before.dtype != now.dtype or before.device != now.device:
        return before is now
    if before.requires_grad != now.requires_grad:
        return False
    if torch.equal(before, now) or before.shape != now.shape or not before.is_floating_point():
        return torch.equal(before, now)
    return torch.allclose(before, now, rtol=0.0, atol=0.0, equal_nan=True)
