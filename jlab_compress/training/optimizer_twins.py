"""Optimizers built anew over other parameters, with those that they drive, and tried out on copies."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.surroundings import random_states_kept

Target = Callable[[Tensor], Tensor]
Entry = Callable[[Any, str, Tensor], Any]


def rebuilt(
    optimizer: Optimizer, target: Target, entry: Entry, memo: dict[int, Any] | None = None
) -> Optimizer:
    """Return an optimizer of the same class and settings over other parameters.

    What it shares with an optimizer that it drives (groups, states) is shared again. Hooks, and a step that a
    scheduler has patched, stay behind.

    Parameters
    ----------
    optimizer : Optimizer
        It is left as it is.
    target : callable
        From a parameter to the one in its place.
    entry : callable
        From a value in a parameter's state, its key and the parameter to the new value.
    memo : dict, optional
        What has been rebuilt already, by its id, as of `copy.deepcopy`.

    Raises
    ------
    TypeError
        If it is, or drives, LBFGS.
    ValueError
        If it keeps tensors of its own beside the state of each parameter.
    """
    memo = {} if memo is None else memo
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer: expected a torch optimizer with state by parameter, got LBFGS")
    for driven in _driven(optimizer):
        if id(driven) not in memo:
            memo[id(driven)] = rebuilt(driven, target, entry, memo)
    groups = memo.get(id(optimizer.param_groups))
    if groups is None:
        groups = [
            memo.get(id(group)) or _group(optimizer, group, target, memo) for group in optimizer.param_groups
        ]
    state = memo.get(id(optimizer.state))
    if state is None:
        state = defaultdict(dict)
        for old, values in optimizer.state.items():
            new = {key: entry(value, key, old) for key, value in values.items()}
            state[memo.get(id(old)) if id(old) in memo else target(old)] = new
    memo |= {id(optimizer.param_groups): groups, id(optimizer.state): state}
    twin: Optimizer = type(optimizer).__new__(type(optimizer))
    defaults = _copied(optimizer, "defaults", getattr(optimizer, "defaults", {}), memo)
    twin.__setstate__({"defaults": defaults, "state": state, "param_groups": groups})
    for key, value in vars(optimizer).items():
        if key not in vars(twin) and key != "step":
            setattr(twin, key, _copied(optimizer, key, value, memo))
    return twin


def _driven(optimizer: Optimizer) -> Iterator[Optimizer]:
    """Yield the optimizers among an optimizer's attributes, also in lists and dicts."""
    for value in vars(optimizer).values():
        yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Optimizer))


def _group(
    optimizer: Optimizer, group: Mapping[str, Any], target: Target, memo: dict[int, Any]
) -> dict[str, Any]:
    memo |= {id(old): target(old) for old in group["params"]}
    options = {key: _copied(optimizer, key, value, memo) for key, value in group.items() if key != "params"}
    made = options | {"params": [memo[id(old)] for old in group["params"]]}
    memo[id(group)] = made
    return made


def _copied(optimizer: Optimizer, key: str, value: Any, memo: dict[int, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.dim()]
    own = [tuple(tensor.shape) for tensor in tensors if id(tensor) not in memo]
    if own and id(value) not in memo:
        raise ValueError(
            f"optimizer: {type(optimizer).__name__} keeps a tensor of shape {own[0]} under {key!r}, and "
            "whether it goes neuron by neuron is not known; start a new optimizer on the slim model"
        )
    return copy.deepcopy(value, memo)


def moved_in_trial(optimizer: Optimizer, names: Mapping[int, str]) -> set[str]:
    """Return the parameters that one step of an optimizer would move, tried on copies with gradients of one.

    Parameters
    ----------
    optimizer : Optimizer
        It is left as it is, with its parameters and their gradients.
    names : mapping of int to str
        Names of parameters by their id.

    Raises
    ------
    ValueError
        If the step fails, or moves nothing at rates above zero.
    """
    copies: dict[int, nn.Parameter] = {}

    def copied(old: Tensor) -> Tensor:
        return copies.setdefault(id(old), nn.Parameter(old.detach().clone(), old.requires_grad))

    twin: Any = rebuilt(optimizer, copied, lambda value, key, old: copy.deepcopy(value))
    own = [old for group in optimizer.param_groups for old in group["params"]]
    before = {number: value.detach().clone() for number, value in copies.items()}

    def closure() -> Tensor:
        for value in copies.values():
            value.grad = torch.ones_like(value) if value.requires_grad else None
        return torch.zeros(())

    closure()
    kind, advice = type(optimizer).__name__, "start a new optimizer on the slim model"
    try:
        with random_states_kept():
            twin.step(closure)
    except Exception as error:
        raise_lack_of_memory(error)
        raise ValueError(
            f"optimizer: a trial step of {kind} on copies fails ({in_words(error)}), so whether it would "
            f"train the slim model is not known; {advice}"
        ) from error
    finally:
        for old in own:
            if not torch.equal(old, before[id(old)]):
                old.data.copy_(before[id(old)])
    moved = {number for number, value in copies.items() if not torch.equal(value, before[number])}
    trained = any(value.requires_grad for value in copies.values())
    if trained and not moved and any(group.get("lr", 1) for group in optimizer.param_groups):
        raise ValueError(f"optimizer: a trial step of {kind} on copies moves nothing; {advice}")
    return {names[number] for number in moved}
