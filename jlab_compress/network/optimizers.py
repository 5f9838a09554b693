"""Optimizers in the middle of their work: carry their state over, and fit Adam's rates to a slim model."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.network.gradients import clip_grad_norm_
from jlab_compress.network.plan import BlockPlan
from jlab_compress.network.slim import plan_of, unwrapped
from jlab_compress.network.surgery import bias_of, is_conv1d, matrix_of

# How a state entry grows with the gradient or the parameter; needed where the gauge rescales those.
_LINEAR = ("momentum_buffer", "exp_avg", "grad_avg", "exp_inf", "prev", "ax")
_SQUARE = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta")
_POWERS = dict.fromkeys(_LINEAR, 1) | dict.fromkeys(_SQUARE, 2)
Carry = Callable[[Tensor, int], Tensor]


def transfer_optimizer(optimizer: Optimizer, original: nn.Module, slim: nn.Module) -> Optimizer:
    """Return the optimizer on the slim model's parameters, with its state carried over.

    Each kept neuron takes its own momentum, moments and step count along, so training goes on as if
    nothing had happened: exactly so where the dropped neurons were copies of kept ones. Where nodes have
    moved, a slim neuron takes the mean over the original neurons that are nearest to it. Parameter groups
    keep their order and options; hooks and schedulers stay with the old optimizer.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Owns parameters of `original`; it is left as it is.
    original, slim : nn.Module
        The model, and its slim form that has not been folded.

    Returns
    -------
    torch.optim.Optimizer
        Of the same class.

    Raises
    ------
    TypeError
        If `optimizer` is none, or is LBFGS, whose history is one vector over all parameters.
    ValueError
        If it owns parameters that `original` does not have, or its state does not go neuron by neuron.

    Notes
    -----
    Cost: one pass over the state; for moved nodes also n s distances.
    """
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            f"optimizer: expected a torch optimizer with state by parameter, got {type(optimizer).__name__}"
        )
    names = {id(p): name for name, p in unwrapped(original).named_parameters()}
    targets = dict(unwrapped(slim).named_parameters())
    axes = _axes(original, slim)
    groups: list[dict[str, Any]] = []
    state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
    for group in optimizer.param_groups:
        owned = [_name_of(p, names) for p in group["params"]]
        options = {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
        groups.append(options | {"params": [targets[name] for name in owned]})
        for old, name in zip(group["params"], owned, strict=True):
            if old in optimizer.state:
                state[targets[name]] = {
                    key: _carried(value, key, old, axes.get(name, []))
                    for key, value in optimizer.state[old].items()
                }
    twin: Optimizer = type(optimizer).__new__(type(optimizer))
    defaults = copy.deepcopy(optimizer.defaults)
    twin.__setstate__({"defaults": defaults, "state": state, "param_groups": groups})
    _copy_attributes(optimizer, twin)
    return twin


def _name_of(parameter: Tensor, names: Mapping[int, str]) -> str:
    if id(parameter) not in names:
        raise ValueError(
            f"optimizer: a parameter of shape {tuple(parameter.shape)} is not of the original model; "
            "pass the model that it was built for"
        )
    return names[id(parameter)]


def _copy_attributes(optimizer: Optimizer, twin: Optimizer) -> None:
    """Copy what a class of the caller's own keeps besides torch's fields, not a scheduler's patched step."""
    for key, value in vars(optimizer).items():
        if key not in vars(twin) and key != "step":
            setattr(twin, key, copy.deepcopy(value))


def _carried(value: Any, key: str, parameter: Tensor, axes: list[tuple[int, Carry, Tensor | None]]) -> Any:
    if not isinstance(value, Tensor) or value.dim() == 0:
        return copy.deepcopy(value)
    if value.dim() != parameter.dim() or any(
        a not in (1, b) for a, b in zip(value.shape, parameter.shape, strict=True)
    ):
        raise ValueError(
            f"optimizer: its state {key!r} of shape {tuple(value.shape)} does not go neuron by neuron with a "
            f"parameter of shape {tuple(parameter.shape)}; start a new optimizer on the slim model"
        )
    carried = value.detach().clone()
    for axis, carry, scale in axes:
        if carried.shape[axis] == 1 and parameter.shape[axis] != 1:
            continue
        carried = carry(carried, axis)
        if scale is not None:
            if key not in _POWERS:
                raise ValueError(
                    f"optimizer: how its state {key!r} changes in the plain gauge is not known; "
                    "compress with plain=False or start a new optimizer on the slim model"
                )
            factor = scale.to(carried) ** _POWERS[key]
            carried = carried * factor.view([-1 if a == axis else 1 for a in range(carried.dim())])
    return carried


def _axes(original: nn.Module, slim: nn.Module) -> dict[str, list[tuple[int, Carry, Tensor | None]]]:
    """Return, per parameter name, the axes that run over hidden neurons and how values get carried there."""
    found: dict[str, list[tuple[int, Carry, Tensor | None]]] = defaultdict(list)
    for block in plan_of(slim).blocks:
        if block.gauge == "folded":
            raise ValueError(f"slim: block {block.name!r} is folded; pass the slim model before fold")
        carry = _carry(unwrapped(original), unwrapped(slim), block)
        scale = None if block.multiplicities is None else torch.tensor(block.multiplicities).double().sqrt()
        for name, axis in block_axes(unwrapped(slim), block):
            found[name].append((axis, carry, scale))
    return found


def block_axes(model: nn.Module, block: BlockPlan) -> Iterator[tuple[str, int]]:
    """Yield each parameter of a block by name, with its axis that runs over the hidden neurons."""
    for path in block.incoming:
        module = model.get_submodule(path)
        yield f"{path}.weight", 1 if is_conv1d(module) else 0
        if bias_of(module) is not None:
            yield f"{path}.bias", 0
    yield f"{block.outgoing}.weight", 0 if is_conv1d(model.get_submodule(block.outgoing)) else 1


def _carry(original: nn.Module, slim: nn.Module, block: BlockPlan) -> Carry:
    if block.indices is not None:
        indices = torch.tensor(block.indices)
        return lambda value, axis: value.index_select(axis, indices.to(value.device))
    wide, narrow = neurons_of(original, block), neurons_of(slim, block)
    shares = _nearest_shares(joint_points(wide, wide), joint_points(narrow, wide))
    return lambda value, axis: torch.movedim(
        torch.tensordot(shares.to(value), value, dims=([1], [axis])),
        0,
        axis,
    )


def neurons_of(model: nn.Module, block: BlockPlan) -> tuple[Tensor, Tensor]:
    """Return a block's neurons without its gauge: incoming rows with biases (n, ...), outgoing (n, n_out).

    Parameters
    ----------
    model : nn.Module
        The original or the slim model; the plain gauge of the latter is undone.
    block : BlockPlan
        From the slim model's plan.

    Returns
    -------
    (Tensor, Tensor)
        One neuron per row, float64, without a graph.
    """
    columns = []
    for path in block.incoming:
        module = model.get_submodule(path)
        bias = bias_of(module)
        columns += [matrix_of(module)] + ([] if bias is None else [bias[:, None]])
    incoming = torch.cat([c.double() for c in columns], dim=1)
    outgoing = matrix_of(model.get_submodule(block.outgoing)).T.double()
    if block.multiplicities is None or len(incoming) != block.width_after:
        return incoming, outgoing
    root = torch.tensor(block.multiplicities).to(incoming).sqrt()[:, None]
    return incoming / root, outgoing / root


def joint_points(neurons: tuple[Tensor, Tensor], like: tuple[Tensor, Tensor]) -> Tensor:
    """Return neurons as points (n, m), both parts divided by the rms entry of the same part of `like`."""
    scales = [part.square().mean().sqrt().clamp_min(1e-30) for part in like]
    return torch.cat([part / scale for part, scale in zip(neurons, scales, strict=True)], dim=1)


def _nearest_shares(wide: Tensor, slim: Tensor) -> Tensor:
    """Return (s, n) rows that average over the wide neurons nearest to each slim one; at least one each."""
    distances = torch.cdist(slim, wide, compute_mode="donot_use_mm_for_euclid_dist")
    shares = torch.zeros_like(distances)
    shares[distances.argmin(0), torch.arange(wide.shape[0])] = 1.0
    empty = shares.sum(1) == 0
    shares[empty, distances.argmin(1)[empty]] = 1.0
    return shares / shares.sum(1, keepdim=True)


__all__ = ["block_axes", "clip_grad_norm_", "joint_points", "neurons_of", "transfer_optimizer"]
