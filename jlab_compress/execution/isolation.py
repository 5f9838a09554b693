"""Run a model so that nothing of it, and no random state, is changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.randomness import seed_everything
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
        raise_lack_of_memory(error)
        raise ValueError(
            f"model: it cannot be copied ({in_words(error)}); the original must stay "
            "untouched, so remove what cannot be copied from its attributes first"
        ) from error
