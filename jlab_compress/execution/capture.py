"""What enters and leaves a model's modules while it runs: the only file that sets hooks on a model.

Hooks come after those that the model has already, so that they see what the module itself sees, and are
gone afterwards, also after an error. Pass copies all the same: the user's model is never hooked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tap:
    """A place where values are kept.

    Parameters
    ----------
    module : str
        Dotted path.
    side : {"input", "output"}
        Whether to keep the module's first argument or what it returns.
    """

    module: str
    side: Literal["input", "output"] = "output"


@dataclass(frozen=True)
class Captured:
    """What one run left behind.

    Parameters
    ----------
    values : mapping of str to Tensor
        By the label of a tap, its value when it was first reached; taps that were not reached are missing.
    result : object
        What the model returned; None where the run ended early, as all taps were reached.
    """

    values: Mapping[str, Tensor]
    result: Any


class _ReachedError(Exception):
    """Ends a run once all taps are reached."""


def capture(
    model: nn.Module,
    call: Call,
    taps: Mapping[str, Tap],
    *,
    changes: Mapping[str, Change] | None = None,
    gradients: bool = False,
    to_the_end: bool = False,
) -> Captured:
    """Run a model in evaluation mode and return the values at some places.

    Parameters
    ----------
    model : nn.Module
        Its flags and the random states are put back afterwards.
    call : Call
        The arguments of the run.
    taps : mapping of str to Tap
        Where to look, by a label of the caller's.
    changes : mapping of str to callable, optional
        By a module's dotted path, what its output is replaced by; taps see the replaced output.
    gradients : bool
        Whether values are parts of the graph of the run; otherwise they are detached copies, which later
        operations in place leave alone.
    to_the_end : bool
        Whether the model runs on once all taps are reached, as it does where there are none.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> found = capture(net, Call((torch.ones(4, 2),)), {"hidden": Tap("1")})
    >>> tuple(found.values["hidden"].shape), found.result
    ((4, 3), None)
    """
    values: dict[str, Tensor] = {}

    def keep(name: str, side: str, value: Any) -> None:
        for label, tap in taps.items():
            if (tap.module, tap.side) == (name, side) and label not in values:
                values[label] = value if gradients else value.detach().clone()
        if taps and not to_the_end and len(values) == len(taps):
            raise _ReachedError

    def leave(name: str, output: Any) -> Any:
        output = changes[name](output) if changes and name in changes else output
        keep(name, "output", output)
        return output

    entered = {tap.module for tap in taps.values() if tap.side == "input"}
    left = {tap.module for tap in taps.values() if tap.side == "output"} | set(changes or ())
    result = None
    try:
        with (
            watching(model, entered, enter=lambda name, value: keep(name, "input", value)),
            watching(model, left, leave=leave),
            undisturbed(model),
            torch.set_grad_enabled(gradients),
        ):
            result = call(model)
    except _ReachedError:
        pass
    return Captured(values, result)


@contextmanager
def watching(
    model: nn.Module,
    names: Iterable[str],
    *,
    enter: Callable[[str, Any], None] | None = None,
    leave: Callable[[str, Any], Any] | None = None,
) -> Iterator[None]:
    """Call functions whenever some modules begin and end to run.

    Parameters
    ----------
    model : nn.Module
        The model that will run inside the `with` block.
    names : iterable of str
        Dotted paths of the modules.
    enter : callable, optional
        Gets the dotted path and the module's first argument, positional or by name; None where it has none.
    leave : callable, optional
        Gets the dotted path and the output; what it returns, unless None, takes the output's place.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with watching(net, ["0", "1"], enter=lambda name, given: print(name, tuple(given.shape))):
    ...     _ = net(torch.ones(4, 2))
    0 (4, 2)
    1 (4, 3)
    """
    hooks = []
    try:
        for name in names:
            module = model.get_submodule(name)
            if enter is not None:
                hooks.append(module.register_forward_pre_hook(_entering(name, enter), with_kwargs=True))
            if leave is not None:
                hooks.append(module.register_forward_hook(_leaving(name, leave)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def module_stack(model: nn.Module) -> Iterator[list[str]]:
    """Give a list that holds, at any time, the dotted paths of the modules that run, the innermost last.

    Its first entry, the model itself, is always there. A module's own hooks count as parts of it.
    """
    stack = [""]
    hooks = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks, and no call in it can be recorded
            begin, end = _entering(name, lambda name, given: stack.append(name)), _ending(stack)
            hooks.append(module.register_forward_pre_hook(begin, prepend=True, with_kwargs=True))
            hooks.append(module.register_forward_hook(end, always_call=True))
        yield stack
    finally:
        for hook in hooks:
            hook.remove()


def _entering(name: str, enter: Callable[[str, Any], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        enter(name, args[0] if args else next(iter(kwargs.values()), None))

    return hook


def _leaving(name: str, leave: Callable[[str, Any], Any]) -> Callable[..., Any]:
    return lambda module, args, output: leave(name, output)


def _ending(stack: list[str]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    return hook
