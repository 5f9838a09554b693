"""Which way a run takes through a model: calls that follow one another, and the parameters that they read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.capture import module_stack, watching


@dataclass(frozen=True)
class Steps:
    """The way of one run, without any of its values.

    Parameters
    ----------
    pairs : frozenset
        Torch calls, each by its module and name, with the next one. A run that takes another way has another.
    parameters : frozenset of str
        Names of the parameters that it reads.
    result : object
        What the model returned.
    """

    pairs: frozenset[Any]
    parameters: frozenset[str]
    result: Any


class _Watch(TorchFunctionMode):
    def __init__(self, model: nn.Module, stack: list[str]) -> None:
        super().__init__()
        self.stack = stack
        self.calls: list[tuple[str, str]] = []
        self._names = {id(p): name for name, p in reversed(list(model.named_parameters()))}
        # What computes outside of torch's Python calls is not seen to read; TorchScript not even to run.
        modules = dict(model.named_modules())
        closed = {name for name, module in modules.items() if isinstance(module, torch.jit.ScriptModule)}
        own = {
            name: {f"{name}.{key}".strip(".") for key, _ in module.named_parameters(recurse=False)}
            for name, module in modules.items()
            if name in closed or not list(module.children())
        }
        self.read = set[str]().union(*(own.pop(name) for name in closed))
        self._own = own

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", type(func).__name__)
        if name != "__get__":
            self.calls.append((self.stack[-1], name))
        self.read |= {self._names[id(t)] for t in tensors_in((args, kwargs)) if id(t) in self._names}
        return func(*args, **kwargs)

    def entered(self, name: str) -> None:
        self.read |= self._own.get(name, set())


def steps_of(model: nn.Module, call: Call) -> Steps:
    """Run a model once and return the way that it takes.

    Parameters
    ----------
    model : nn.Module
        A copy; hooks are put on its modules and removed afterwards.
    call : Call
        The arguments of the run. No values are kept, so these may be all rows that there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> steps = steps_of(net, Call((torch.ones(1, 3),)))
    >>> steps.pairs, sorted(steps.parameters)
    (frozenset({(('0', 'linear'), ('1', 'relu'))}), ['0.bias', '0.weight'])
    """
    own = call.copied()
    with module_stack(model) as stack:
        watch = _Watch(model, stack)
        with torch.no_grad(), watching(model, watch._own, enter=lambda name, _: watch.entered(name)), watch:
            result = own.hand_to(model)
    return Steps(frozenset(pairwise(watch.calls)), frozenset(watch.read), result)
