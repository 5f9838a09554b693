"""What is taken for a model, and on which device it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DataParallel or DistributedDataParallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in {"DataParallel", "DistributedDataParallel"}:
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def check_model(model: nn.Module) -> None:
    """Refuse what is no plain torch module, with a TypeError or ValueError."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module, got {type(model).__name__}; pass the network itself"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "model: a TorchScript module cannot be changed; pass the module that it was made from"
        )
    if unwrapped(model) is not model:
        raise TypeError(
            f"model: this {type(model).__name__} wraps another module (torch.compile, DataParallel); "
            "pass the module that it was made from"
        )
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise ValueError("model: it has lazy layers without sizes; run it once on real inputs first")


def check_values(model: nn.Module) -> None:
    """Refuse a model that is on the meta device, or has a part there.

    Raises
    ------
    ValueError
        Naming the first parameter or buffer without values.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f"model: {name} is on the meta device and has no values; load its weights first "
                "(to_empty, then load_state_dict)"
            )


def is_plain(parameter: Tensor) -> bool:
    """Return whether a parameter is a tensor as it is, not of a class that quantises or shards it."""
    return type(parameter.data) is Tensor


def check_weights(model: nn.Module) -> None:
    """Refuse a model with NaN or infinite parameters.

    Raises
    ------
    ValueError
        Naming the first such parameter.
    """
    for name, parameter in model.named_parameters():
        known = is_plain(parameter) and parameter.is_floating_point()
        if known and not bool(torch.isfinite(parameter.detach()).all()):
            raise ValueError(
                f"model: parameter {name} holds NaN or infinite values; train or repair it first"
            )


def check_gradient_hooks(model: nn.Module) -> None:
    """Refuse a model whose parameters have hooks of their own, which a slim model's new ones would not have.

    Raises
    ------
    ValueError
        Naming these parameters.
    """
    kinds = ("_backward_hooks", "_post_accumulate_grad_hooks")
    hooked = [name for name, p in model.named_parameters() if any(getattr(p, kind, None) for kind in kinds)]
    if hooked:
        raise ValueError(
            f"model: {', '.join(hooked)} have gradient hooks (register_hook, "
            "register_post_accumulate_grad_hook), which would stay behind on the original's parameters; "
            "remove them first and register them on those of the slim model"
        )


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter or buffer; the CPU where it has none."""
    for tensor in [*model.parameters(), *model.buffers()]:
        return tensor.device
    return torch.device("cpu")
