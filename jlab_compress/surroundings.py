"""What surrounds a public call and must not reach into it: torch's modes, defaults and casts.

Every public function is `shielded`, so that its result is the same bits wherever it is called: under
autocast, without gradients, in inference mode, with another default dtype or device, or inside a mode that
watches or changes torch's calls. The caller's model, loader and functions keep the default dtype and device
that they were written for: they run `as_called`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils._python_dispatch import _disable_current_modes

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")


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


@contextmanager
def shielded() -> Iterator[None]:
    """Compute as in a fresh process, whatever surrounds the call; a decorator of public functions.

    Examples
    --------
    >>> @shielded()
    ... def double(x):
    ...     return 2 * x
    >>> with torch.no_grad():
    ...     double(torch.ones(1, requires_grad=True)).requires_grad
    True
    """
    if _callers.get() is not None:
        yield
        return
    defaults = Defaults.now()
    token = _callers.set(defaults)
    try:
        with ExitStack() as stack:
            stack.enter_context(_without_function_modes())
            stack.enter_context(_disable_current_modes())
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
    modes = [_pop_mode() for _ in _get_current_function_mode_stack()]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for mode in reversed(modes):
            _push_mode(mode)  # type: ignore[no-untyped-call]


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
