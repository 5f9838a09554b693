"""Run a model so that nothing of it, and no random state, is changed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jlab_compress.execution.calls import in_words


class _SlowPath(TorchFunctionMode):
    """Changes nothing; while it is on, torch's fused fast paths stand back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the random states (torch on every device in use, numpy, Python) back afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def undisturbed(*models: nn.Module, seed: int = 0) -> Iterator[None]:
    """Run models in evaluation mode without gradients, and put flags and random states back afterwards.

    The random states (torch on every device in use, numpy, Python) are seeded inside, so that a model
    that draws numbers gives the same outputs in each run.
    """
    flags = {module: module.training for model in models for module in model.modules()}
    devices = sorted({p.device.index for m in models for p in m.parameters() if p.device.type == "cuda"})
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), _SlowPath():
            torch.default_generator.manual_seed(seed)
            for index in devices:
                torch.cuda.default_generators[index].manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            for module in flags:
                module.training = False
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, flag in flags.items():
            module.training = flag


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy, also of a model that holds computed tensors (weight_norm keeps one).

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
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"model: it cannot be copied ({in_words(error)}); the original must stay "
            "untouched, so remove what cannot be copied from its attributes first"
        ) from error
