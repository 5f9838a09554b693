"""What surrounds a public call does not reach into it, and is afterwards as it was, however the call ends.

Every public function is `shielded`, so that its result is the same bits wherever it is called: under
autocast, without gradients, in inference mode, with another default dtype or device, or inside a mode that
watches or changes torch's calls. The caller's model, loader and functions keep the default dtype and device
that they were written for: they run `as_called`.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from traceback import walk_tb
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import overrides
from torch.nn.modules import module as hooked
from torch.utils import _python_dispatch as dispatch

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")
PutBack = Callable[[], None]
_GLOBAL_HOOKS = [hooks for name, hooks in vars(hooked).items() if name.startswith("_global_forward")]

Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Defaults:
    """What a tensor is made as where nobody says it."""

    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def now() -> Defaults:
        """Return the present ones; nobody computes on "meta", so that stands for the CPU."""
        device = torch.get_default_device()
        return Defaults(torch.get_default_dtype(), torch.device("cpu") if device.type == "meta" else device)


# The defaults around the public call that runs now; None outside of any, and while the caller's code runs.
_callers: ContextVar[Defaults | None] = ContextVar("callers", default=None)


def shielded(*, draws: bool = False) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Compute as in a fresh process, whatever surrounds the call; a decorator of public functions.

    Settings of the process are as before afterwards, also where an interrupt or a fault ends the call.

    Parameters
    ----------
    draws : bool
        Whether the call is meant to draw from the caller's random numbers.

    Examples
    --------
    >>> @shielded()
    ... def double(x):
    ...     return 2 * x
    >>> with torch.no_grad():
    ...     double(torch.ones(1, requires_grad=True)).requires_grad
    True
    """

    def decorated(call: Callable[Given, Made]) -> Callable[Given, Made]:
        @wraps(call)
        def shielding(*args: Given.args, **kwargs: Given.kwargs) -> Made:
            if _callers.get() is not None:
                return call(*args, **kwargs)
            settings = [lambda: _callers.set(None) and None, *remembered(draws=draws)]
            try:
                try:
                    with fresh():
                        return call(*args, **kwargs)
                finally:
                    put_back(settings)
            except BaseException as error:
                end_contexts(error)
                put_back(settings)  # once more, if that was cut short
                raise

        return shielding

    return decorated


@contextmanager
def fresh() -> Iterator[None]:
    """Compute as in a fresh process; what is entered inside of it does reach into public calls."""
    defaults = Defaults.now()
    token = _callers.set(defaults)
    try:
        with ExitStack() as stack:
            stack.enter_context(_without_function_modes())
            stack.enter_context(dispatch._disable_current_modes())
            stack.enter_context(_without_autocast())
            stack.enter_context(_without_saved_tensor_hooks())
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
            stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
            stack.enter_context(_default_dtype(torch.float32))
            yield
    finally:
        _callers.reset(token)


@contextmanager
def as_called() -> Iterator[None]:
    """Run the caller's model or function under the default dtype and device of the call.

    Examples
    --------
    >>> @shielded()
    ... def zeros():
    ...     with as_called():
    ...         inside = torch.zeros(1)
    ...     return inside.dtype, torch.zeros(1).dtype
    >>> with _default_dtype(torch.float64):
    ...     zeros()
    (torch.float64, torch.float32)
    """
    defaults = _callers.get()
    if defaults is None:
        yield
        return
    token = _callers.set(None)
    try:
        with (
            _default_dtype(defaults.dtype),
            nullcontext() if defaults.device.type == "cpu" else defaults.device,
        ):
            yield
    finally:
        _callers.reset(token)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _without_function_modes() -> Iterator[None]:
    """Take modes that see torch's calls off, among them the one that says a default device."""
    modes = [overrides._pop_mode() for _ in _function_modes()]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for mode in reversed(modes):
            overrides._push_mode(mode)  # type: ignore[no-untyped-call]


@contextmanager
def _without_autocast() -> Iterator[None]:
    on = [kind for kind in DEVICE_TYPES if torch.is_autocast_enabled(kind)]
    try:
        for kind in on:
            torch.set_autocast_enabled(kind, False)
        yield
    finally:
        for kind in on:
            torch.set_autocast_enabled(kind, True)


@contextmanager
def _without_saved_tensor_hooks() -> Iterator[None]:
    """Take off what packs tensors that a backward pass needs, as it may round them."""
    hooks = []
    while (top := torch._C._autograd._top_saved_tensors_default_hooks(True)) is not None:
        hooks.append(top)
        torch._C._autograd._pop_saved_tensors_default_hooks()
    try:
        yield
    finally:
        for pack, unpack in reversed(hooks):
            torch._C._autograd._push_saved_tensors_default_hooks(pack, unpack)


@contextmanager
def random_states_kept(devices: Sequence[int] | None = None) -> Iterator[None]:
    """Put the random states (torch, numpy, Python) back afterwards, whatever happens inside.

    Parameters
    ----------
    devices : sequence of int, optional
        The GPUs whose states are kept too; all that there are by default, where any has been used yet.
    """
    back = _random_states(devices)
    try:
        yield
    finally:
        back()


def remembered(*, draws: bool = False) -> list[PutBack]:
    """Return functions that give every setting the value it has now; each may be called as often as wanted.

    Parameters
    ----------
    draws : bool
        Whether random states are left out, as somebody draws from them.
    """
    memories: list[Callable[[], PutBack]] = [_modes, _numbers, _python]
    return [memory() for memory in (memories if draws else [*memories, _random_states])]


def put_back(settings: list[PutBack]) -> None:
    """Give every setting its old value."""
    for setting in settings:
        setting()


def end_contexts(error: BaseException) -> None:
    """Run the ends of those `with` blocks that were interrupted where they begin or end.

    Left to itself a generator of `contextlib` ends when the traceback is dropped, which may be at any time.
    """
    chained: BaseException | None = error
    while chained is not None:
        for frame, _ in walk_tb(chained.__traceback__):
            if frame.f_code.co_filename == contextlib.__file__:
                with contextlib.suppress(RuntimeError):  # it still runs
                    frame.clear()
        chained = chained.__context__


def _modes() -> PutBack:
    """Torch's stacks of modes, and hooks on all modules, which its counter of operations sets."""
    functions, inside = _function_modes(), _dispatch_modes()
    hooks = [(place, place.copy()) for place in _GLOBAL_HOOKS]

    def back() -> None:
        _restack(_dispatch_modes, dispatch._pop_mode, dispatch._push_mode, inside)
        _restack(_function_modes, overrides._pop_mode, overrides._push_mode, functions)
        for place, before in hooks:
            if place != before:
                place.clear()
                place.update(before)

    return back


def _function_modes() -> list[Any]:
    return list(overrides._get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def _dispatch_modes() -> list[Any]:
    return list(dispatch._get_current_dispatch_mode_stack())


def _restack(
    read: Callable[[], list[Any]], pop: Callable[[], Any], push: Callable[[Any], Any], before: list[Any]
) -> None:
    if [id(mode) for mode in read()] != [id(mode) for mode in before]:
        for _ in read():
            pop()
        for mode in before:
            push(mode)


def _numbers() -> PutBack:
    """How torch and numpy compute."""
    grad, dtype, anomaly = torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_anomaly_enabled()
    checked, errors = torch.is_anomaly_check_nan_enabled(), np.geterr()
    autocast = {kind: torch.is_autocast_enabled(kind) for kind in DEVICE_TYPES}

    def back() -> None:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly, checked)
        np.seterr(**errors)
        for kind, on in autocast.items():
            torch.set_autocast_enabled(kind, on)

    return back


def _random_states(devices: Sequence[int] | None = None) -> PutBack:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    generators = [torch.cuda.default_generators[index] for index in (used if devices is None else devices)]
    gpus = [(generator, generator.get_state()) for generator in generators]

    def back() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for generator, state in gpus:
            generator.set_state(state)

    return back


def _python() -> PutBack:
    """Log lines, warnings, the stream of errors, and a module that the exporter hides."""
    disabled, stream, shown = logging.root.manager.disable, sys.stderr, warnings.showwarning
    filters: Any = warnings.filters
    inside, triton = list(filters), sys.modules.get("triton")

    def back() -> None:
        logging.disable(disabled)
        sys.stderr = stream
        if warnings.filters is not filters or filters != inside:
            warnings.filters, warnings.showwarning, filters[:] = filters, shown, inside
            with warnings.catch_warnings():
                pass  # its end makes Python look at the filters anew
        if "triton" in sys.modules and sys.modules["triton"] is None:
            del sys.modules["triton"]
            sys.modules.update({} if triton is None else {"triton": triton})

    return back
