"""Adam's learning rates for slim layers whose gradients are not those of one copy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_all, read_call
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.models import device_of, unwrapped
from jlab_compress.slim.conversion import plan_of
from jlab_compress.surroundings import as_called, shielded
from jlab_compress.training.gradient_sums import copies_of
from jlab_compress.training.matching import axes_by_parameter

Loss = Callable[[Any, Any], Tensor]
# Optimizers whose step keeps its length when the gradient is scaled.
SCALE_FREE = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
)


@shielded()
def adam_rate_factors(
    original: nn.Module,
    slim: nn.Module,
    *,
    batches: Iterable[tuple[Any, Any]] = (),
    loss_fn: Loss | None = None,
) -> dict[str, float]:
    """Return by what factor Adam's learning rate should change for each parameter of the slim blocks.

    Adam moves every entry by about the learning rate, whatever its gradient, so a tensor changes the loss
    by lr sum |g|. In the weighted gauge copies move together and the factor is 1. In the plain gauge an
    entry stands for sqrt(c) times itself and the factor is sqrt(n / s), exact where all multiplicities
    are n / s. With batches the factor is measured, for any gauge and activation: the original's
    sum_i |g_i| over the slim model's sum_j c_j |g_j|, tensor by tensor.

    Parameters
    ----------
    original, slim : nn.Module
        Neither is changed.
    batches : iterable of (inputs, targets), optional
        A few are enough; with them `loss_fn` is needed.
    loss_fn : callable, optional
        ``loss_fn(outputs, targets)`` gives one number.

    Returns
    -------
    dict of str to float
        By parameter name, for `scale_rates` or for param groups of your own.

    Raises
    ------
    ValueError
        If `slim` has no plan, there are batches without a loss, or no gradient reaches a block.
    """
    batches = read_all(batches, "batches", None, "pass a list of a few")
    if bool(batches) != (loss_fn is not None):
        raise ValueError("loss_fn: expected it together with batches, got one without the other")
    names = set(axes_by_parameter(slim))
    if loss_fn is None:
        factors = gauge_factors(slim)
        return {name: factors.get(name, 1.0) for name in sorted(names)}
    wide, narrow = (_gradient_sums(model, batches, loss_fn) for model in (original, slim))
    for name in names:
        if not (narrow.get(name, 0.0) > 0 and wide.get(name, 0.0) > 0):
            raise ValueError(
                f"batches: no gradient reaches {name!r}; pass batches on which the model is wrong"
            )
    return {name: wide[name] / narrow[name] for name in sorted(names)}


@shielded()
def scale_rates(optimizer: Optimizer, slim: nn.Module, factors: Mapping[str, float]) -> None:
    """Split the optimizer's groups, in place, so that each parameter has its own factor on the rate.

    The rate is multiplied and a decoupled weight decay divided by the factor; in the plain gauge eps
    is multiplied by the gauge's sqrt(n / s), as the gradients are. Call it once, before any scheduler.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Adam, AdamW or another with a step that does not scale with the gradient.
    slim : nn.Module
        Owns the parameters.
    factors : mapping of str to float
        From `adam_rate_factors`.
    """
    gauge = gauge_factors(slim)
    names = {id(p): name for name, p in unwrapped(slim).named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            name = names.get(id(parameter), "")
            parts[factors.get(name, 1.0), gauge.get(name, 1.0)].append(parameter)
        for (factor, scale), parameters in parts.items():
            part = group | {"params": parameters, "lr": group["lr"] * factor}
            if group.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW)):
                part["weight_decay"] = group["weight_decay"] / factor
            if "eps" in group:
                part["eps"] = group["eps"] * scale
            groups.append(part)
    optimizer.param_groups[:] = groups


def gauge_factors(slim: nn.Module) -> dict[str, float]:
    """Return sqrt(n / s) per parameter of blocks in the plain gauge, the product where two blocks meet."""
    factors: dict[str, float] = {}
    try:
        blocks = plan_of(slim).blocks
    except ValueError:
        return {}
    roots = {
        block.name: math.sqrt(block.width_before / block.width_after)
        for block in blocks
        if block.gauge == "plain" and block.multiplicities is not None
    }
    for parameter, axes in axes_by_parameter(slim).items() if roots else ():
        for name, _ in axes:
            if name in roots:
                factors[parameter] = factors.get(parameter, 1.0) * roots[name]
    return factors


def gauge_notes(slim: nn.Module) -> tuple[str, ...]:
    """Return, per block in the plain gauge, what its optimizer needs."""
    return tuple(
        f"Plain gauge, block {block.name}: SGD needs nothing. For Adam and its kin call once "
        "scale_rates(optimizer, slim, adam_rate_factors(original, slim)): rates times sqrt(n / s) = "
        f"{math.sqrt(block.width_before / block.width_after):.4g}, decoupled weight decay divided by it; "
        "exact where all multiplicities are n / s."
        for block in plan_of(slim).blocks
        if block.gauge == "plain" and block.multiplicities is not None
    )


def _gradient_sums(model: nn.Module, batches: list[tuple[Any, Any]], loss_fn: Loss) -> dict[str, float]:
    """Return sum |g|, every copy counted, by parameter name, added up over the batches."""
    twin = copy_model(unwrapped(model))
    copies, device = copies_of(twin), device_of(twin)
    sums: dict[str, float] = defaultdict(float)
    with undisturbed(twin), torch.enable_grad():
        for inputs, targets in batches:
            twin.zero_grad()
            outputs = read_call(twin, inputs)[0].to(device)(twin)
            with as_called():
                loss = loss_fn(outputs, Call((targets,)).copied().to(device).args[0])
            loss.backward()  # type: ignore[no-untyped-call]
            for name, parameter in twin.named_parameters():
                if parameter.grad is not None:
                    sums[name] += float((parameter.grad.abs() * copies.get(name, 1.0)).sum())
    return dict(sums)
