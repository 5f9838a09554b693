"""Run a model so that nothing of it, and no random state, is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.randomness import seed_everything
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.execution.state import State
from jlab_compress.surroundings import random_states_kept


class _SlowPath(TorchFunctionMode):
    """Changes nothing; while it is on, torch's fused fast paths stand back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def inference() -> Iterator[None]:
    """Compute without gradients, and with the same calls as in training: torch's fused paths stand back.

    That of `nn.TransformerEncoder` by-passes submodules and treats padded rows otherwise.
    """
    with torch.no_grad(), _SlowPath():
        yield


@contextmanager
def undisturbed(*models: nn.Module, seed: int = 0, training: bool = False) -> Iterator[None]:
    """Run models in evaluation or training mode without gradients, and put back what a run changes.

    That is flags, random states and the models' own `State`. The random states (torch on every device in use,
    numpy, Python) are seeded inside, so that a model that draws numbers gives the same outputs in each run.
    """
    flags = {module: module.training for model in models for module in model.modules()}
    devices = sorted({p.device.index for m in models for p in m.parameters() if p.device.type == "cuda"})
    try:
        with random_states_kept(devices), inference():
            seed_everything(seed, devices)
            for module in flags:
                module.training = training
            state = State.of(*models)
            try:
                yield
            finally:
                state.put_back()
    finally:
        for module, flag in flags.items():
            module.training = flag


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy, also of a model that holds computed tensors (weight_norm keeps one).

    Parameters keep the attributes that somebody has given them; their gradient hooks stay behind.

    Raises
    ------
    ValueError
        If the model cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        made = copy.deepcopy(model, memo)
        for old, new in zip(model.parameters(), made.parameters(), strict=True):
            vars(new).update(copy.deepcopy(vars(old), memo))
        return made
    except Exception as error:
        raise_lack_of_memory(error)
        raise ValueError(
            f"model: it cannot be copied ({in_words(error)}); the original must stay "
            "untouched, so remove what cannot be copied from its attributes first"
        ) from error


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Quiet:
    """A hook on a working copy of a model: it does nothing, or what a copy of the user's hook does.

    Parameters
    ----------
    own : callable
        The user's hook, which never runs on a working copy.
    """

    def __init__(self, own: Callable[..., Any]) -> None:
        self.own = own
        self.stand_in: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the stand-in does, or nothing."""
        return None if self.stand_in is None else self.stand_in(*args, **kwargs)


def working_copy(model: nn.Module) -> nn.Module:
    """Return a copy on which no hook of the user runs; those of torch's own (`weight_norm`) stay.

    `give_back_hooks` puts them back; `let_hooks_act` finds out which are a part of what the model computes.
    """
    made = copy_model(model)
    for hooks in _hooks_of(made):
        for key, hook in hooks.items():
            if not type(hook).__module__.startswith("torch.nn."):
                hooks[key] = Quiet(hook)
    return made


def give_back_hooks(model: nn.Module) -> None:
    """Let the user's hooks run on what has been a working copy, in place."""
    for hooks in _hooks_of(model):
        for key, hook in hooks.items():
            hooks[key] = hook.own if isinstance(hook, Quiet) else hook


def let_hooks_act(model: nn.Module, outcome: Callable[[], list[Tensor] | None]) -> None:
    """Give the hooks of a working copy that change what it computes a stand-in, in place.

    A stand-in is a copy of the hook with copies of what it keeps, so that nothing of the user's is touched.
    Where the model fails with all of them, as it does on inputs of another form, all act.

    Parameters
    ----------
    model : nn.Module
        From `working_copy`.
    outcome : callable
        Runs the model and returns its outputs, or None where it fails.
    """
    quiet = [hook for hooks in _hooks_of(model) for hook in hooks.values() if isinstance(hook, Quiet)]
    if not quiet:
        return
    before, stand_ins = Snapshot.of(model), [_apart(hook.own, {}) for hook in quiet]

    def with_these(acting: list[Any]) -> list[Tensor] | None:
        for hook, stand_in in zip(quiet, acting, strict=True):
            hook.stand_in = stand_in
        return outcome()

    none = [None] * len(quiet)
    with redirect_stdout(StringIO()):
        still, whole = with_these(none), with_these(stand_ins)
        acting = stand_ins
        if whole is not None and _equal(whole, still):
            acting = none
        elif whole is not None and len(quiet) > 1:
            alone = [[s if i == j else None for i, s in enumerate(stand_ins)] for j in range(len(quiet))]
            acts = [not _equal(with_these(one), still) for one in alone]
            some = [stand_in if act else None for stand_in, act in zip(stand_ins, acts, strict=True)]
            acting = some if _equal(with_these(some), whole) else stand_ins
        with_these(acting)
    before.put_back()


def _equal(found: list[Tensor] | None, other: list[Tensor] | None) -> bool:
    if found is None or other is None:
        return found is other
    return len(found) == len(other) and all(torch.equal(a, b) for a, b in zip(found, other, strict=True))


def _hooks_of(model: nn.Module) -> list[dict[int, Any]]:
    return [getattr(module, name) for module in model.modules() for name in _HOOKS]


def _apart(value: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of a hook with copies of what it keeps; what cannot be is a mock."""
    if isinstance(value, MethodType):
        return MethodType(value.__func__, _apart(value.__self__, memo))
    if isinstance(value, partial):
        kept = [_apart(each, memo) for each in value.args]
        return partial(
            _apart(value.func, memo), *kept, **{k: _apart(v, memo) for k, v in value.keywords.items()}
        )
    if isinstance(value, FunctionType):
        return _function_apart(value, memo)
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        raise_lack_of_memory(error)
        return MagicMock()


def _function_apart(function: FunctionType, memo: dict[int, Any]) -> Any:
    if id(function) not in memo:
        names: dict[str, Any] = dict(function.__globals__)
        closure = function.__closure__ or ()
        cells = tuple(CellType() for _ in closure)
        apart = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
        apart.__kwdefaults__ = function.__kwdefaults__
        memo[id(function)] = apart
        for cell, old in zip(cells, closure, strict=True):
            cell.cell_contents = _apart(old.cell_contents, memo)
        for name in set(function.__code__.co_names) & set(names):
            own = not isinstance(names[name], FunctionType) or names[name].__module__ == function.__module__
            if own and not isinstance(names[name], ModuleType | type):
                names[name] = _apart(names[name], memo)
    return memo[id(function)]
