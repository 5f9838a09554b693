"""What a run may change of a model beside its parameters: counters, running averages, lists, generators."""

from __future__ import annotations

import pickle
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A run sets no hooks, and what is in the holders are modules and parameters.
_HOOKS = frozenset(key for key in vars(nn.Module()) if "hook" in key or key == "training")
_HOLDERS = frozenset({"_modules", "_parameters"})
_NOT_LOOKED_INTO = (bool, int, float, str, bytes, type(None), nn.Parameter, nn.Module)


@dataclass(frozen=True)
class State:
    """The attributes of every module of a model, and what is in them as far as a run may change it.

    Parameters
    ----------
    kept : tuple of (str, object, object, Way)
        A dotted path, what is there, what was in it, and how it is put back.

    Notes
    -----
    Kept are attributes, and the content of buffers and other tensors, of arrays, lists, dictionaries, sets
    and random generators that modules hold; of a TorchScript module, its buffers. Not kept are values of
    parameters and objects of other classes.

    Examples
    --------
    >>> net = nn.BatchNorm1d(2)
    >>> state, _ = State.of(net), net(torch.ones(3, 2))
    >>> state.put_back()
    ('running_mean', 'running_var', 'num_batches_tracked')
    >>> net.running_mean
    tensor([0., 0.])
    """

    kept: tuple[tuple[str, Any, Any, Way], ...]

    @staticmethod
    def of(*models: nn.Module) -> State:
        """Return what models hold now."""
        seen = set[int]()
        places = [place for model in models for place in model.named_modules()]
        return State(tuple(kept for name, module in places for kept in _of_module(name, module, seen)))

    def put_back(self) -> tuple[str, ...]:
        """Give the models what they held, and return the dotted paths of what had changed."""
        changed = dict[str, None]()
        for path, value, before, way in self.kept:
            if not way.same(value, before):
                keys = _changed_keys(value, before) if way is _ATTRIBUTES else [""]
                changed |= dict.fromkeys(f"{path}.{key}".strip(".") for key in keys)
                way.put_back(value, before)
        return tuple(changed)


@dataclass(frozen=True)
class Way:
    """How the content of one kind of value is kept.

    Parameters
    ----------
    kinds : tuple of type
        Its classes.
    content : callable
        From a value to a copy of its content.
    same : callable
        Whether a value still has a content.
    put_back : callable
        Gives a value a content.
    """

    kinds: tuple[type, ...]
    content: Callable[[Any], Any]
    same: Callable[[Any, Any], bool]
    put_back: Callable[[Any, Any], Any]


Kept = tuple[str, Any, Any, Way]


def _of_module(path: str, module: nn.Module, seen: set[int]) -> Iterator[Kept]:
    """Yield what is kept of a module; TorchScript has its attributes elsewhere and shows their values."""
    if isinstance(module, torch.jit.ScriptModule):
        yield path, module, _buffers(module), _SCRIPTED
    else:
        yield from _attributes(path, vars(module), seen)


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in module.named_buffers(recurse=False)}


def _attributes(path: str, own: dict[str, Any], seen: set[int]) -> Iterator[Kept]:
    """Yield what is kept of a module's attributes, parameters, children or buffers, by their names."""
    yield path, own, dict(own), _ATTRIBUTES
    for key, value in own.items():
        if key in _HOLDERS:
            yield path, value, dict(value), _ATTRIBUTES
        elif key == "_buffers":
            yield from _attributes(path, value, seen)
        elif key not in _HOOKS:
            yield from _held(f"{path}.{key}".strip("."), value, seen)


def _held(path: str, value: Any, seen: set[int]) -> Iterator[Kept]:
    """Yield what is kept of a value and of what it holds, each once."""
    way = None if isinstance(value, _NOT_LOOKED_INTO) or id(value) in seen else _way(value)
    if way is None:
        return
    seen.add(id(value))
    yield path, value, way.content(value), way
    if isinstance(value, dict | list | deque):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _held(path, item, seen)


def _way(value: Any) -> Way | None:
    if isinstance(value, Tensor) and (value.layout is not torch.strided or value.is_meta):
        return None
    return next((way for way in _WAYS if isinstance(value, way.kinds)), None)


def _changed_keys(value: dict[Any, Any], before: dict[Any, Any]) -> list[Any]:
    keys = dict.fromkeys([*before, *value])
    return [key for key in keys if key not in value or key not in before or value[key] is not before[key]]


def _same_items(value: Any, before: list[Any]) -> bool:
    return len(value) == len(before) and all(a is b for a, b in zip(value, before, strict=True))


def _refill(value: Any, before: Any) -> None:
    value.clear()
    value.extend(before) if isinstance(before, list) else value.update(before)


def _fill(value: Tensor, before: Tensor) -> None:
    with torch.no_grad():
        value.copy_(before)


def _fill_buffers(module: nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in before.items():
        _fill(getattr(module, name), value)


def _generator(kind: type, get: Callable[[Any], Any], put: Callable[[Any, Any], Any]) -> Way:
    return Way((kind,), get, lambda value, before: pickle.dumps(get(value)) == pickle.dumps(before), put)


_SCRIPTED = Way(
    (torch.jit.ScriptModule,),
    _buffers,
    lambda value, before: all(torch.equal(now, before[name]) for name, now in _buffers(value).items()),
    _fill_buffers,
)
_ATTRIBUTES = Way((dict,), dict, lambda value, before: not _changed_keys(value, before), _refill)
_WAYS = (
    replace(_ATTRIBUTES),
    Way((list, deque), list, _same_items, _refill),
    Way((set,), set, lambda value, before: value == before, _refill),
    Way((Tensor,), lambda value: value.detach().clone(), torch.equal, _fill),
    Way((np.ndarray,), np.copy, np.array_equal, lambda value, before: np.copyto(value, before)),
    _generator(
        torch.Generator,
        lambda value: value.get_state().numpy(),
        lambda value, before: value.set_state(torch.from_numpy(before)),
    ),
    _generator(random.Random, random.Random.getstate, random.Random.setstate),
    _generator(np.random.RandomState, np.random.RandomState.get_state, np.random.RandomState.set_state),
    _generator(
        np.random.Generator,
        lambda value: value.bit_generator.state,
        lambda value, before: setattr(value.bit_generator, "state", before),
    ),
)
