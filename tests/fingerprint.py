"""All about models, data and this process that a call could change, for tests that nothing has."""

import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn, overrides
from torch.nn.modules import module as torch_module
from torch.utils import _python_dispatch as dispatch

HOOKS = [name for name in vars(nn.Linear(1, 1)) if "hook" in name]
GLOBAL_HOOKS = [name for name in vars(torch_module) if name.startswith("_global") and "hook" in name]


def bits(tensor: torch.Tensor | None) -> Any:
    if tensor is None:
        return None
    content = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
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
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "modes": (overrides._get_current_function_mode_stack(), dispatch._get_current_dispatch_mode_stack()),
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        "autocast": [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
        "deterministic": torch.get_deterministic_debug_mode(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "hooks": [(name, getattr(torch_module, name)) for name in GLOBAL_HOOKS],
        "numpy": np.geterr(),
        "folder": os.getcwd(),
    }


def state_of_process() -> dict[str, Any]:
    """What of this process a library must not leave changed, once all that it uses is imported."""
    loggers = [
        (name, each.level) for name, each in logging.root.manager.loggerDict.items() if hasattr(each, "level")
    ]
    return {
        "warnings": (id(warnings.filters), list(warnings.filters), warnings.showwarning),
        "logging": (logging.root.manager.disable, logging.root.level, sorted(loggers)),
        "environment": dict(os.environ),
        "streams": (sys.stdout, sys.stderr),
        "hidden modules": sorted(name for name, module in list(sys.modules.items()) if module is None),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "processes": [process.pid for process in psutil.Process().children(recursive=True)],
        "interrupts": signal.getsignal(signal.SIGINT),
        "temporary": sorted(os.listdir(tempfile.gettempdir())),
    }


def numpy_state() -> list[Any]:
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state()]


def fingerprint_of(*things: Any) -> list[Any]:
    """Equal results for models and tensors mean that nothing was touched, bit for bit."""
    return [state_of(t) if isinstance(t, nn.Module) else bits(t) for t in things] + [state_of_torch()]


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Where two such results differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, before.get(key), after.get(key)) for key in before.keys() | after.keys()]
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        pairs = [(key, *pair) for key, pair in enumerate(zip(before, after, strict=True))]
    else:
        return [] if before == after else [f"{path}: {str(before)[:60]} became {str(after)[:60]}"]
    return [found for key, *pair in pairs for found in differences(*pair, f"{path}/{key}")]
