"""A fingerprint of models, data and global state, for tests that nothing has changed."""

import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module

HOOKS = [name for name in vars(nn.Linear(1, 1)) if "hook" in name]
GLOBAL_HOOKS = [name for name in vars(torch_module) if name.startswith("_global") and "hook" in name]


def bits(tensor: torch.Tensor | None) -> Any:
    if tensor is None:
        return None
    content = tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return id(tensor), tensor._version, tensor.dtype, tensor.requires_grad, tensor.data_ptr(), content


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a call could change."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "modules": [(n, id(m), type(m), m.training, sorted(vars(m))) for n, m in model.named_modules()],
        "hooks": [(n, h, dict(getattr(m, h) or {})) for n, m in model.named_modules() for h in HOOKS],
        "tensors": [(n, bits(t), bits(t.grad), t._backward_hooks) for n, t in tensors],
        "attributes": [(n, [id(v) for v in vars(m).values()]) for n, m in model.named_modules()],
    }


def state_of_torch() -> dict[str, Any]:
    """The global settings that a library must not leave changed."""
    return {
        "random": (random.getstate(), numpy_state(), torch.get_rng_state().numpy().tobytes()),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "modes": len(torch.overrides._get_current_function_mode_stack()),
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "hooks": [(name, getattr(torch_module, name)) for name in GLOBAL_HOOKS],
        "folder": os.getcwd(),
    }


def numpy_state() -> list[Any]:
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state()]


@pytest.fixture(scope="session")
def fingerprint() -> Any:
    """A function of models and tensors: equal results mean that nothing was touched, bit for bit."""

    def fingerprint_of(*things: Any) -> list[Any]:
        return [state_of(t) if isinstance(t, nn.Module) else bits(t) for t in things] + [state_of_torch()]

    return fingerprint_of
