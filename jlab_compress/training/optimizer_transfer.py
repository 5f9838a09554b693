"""Optimizers in the middle of their work, carried over to a slim model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.units import UnitAxis
from jlab_compress.surroundings import shielded
from jlab_compress.training.matching import Match, axes_by_parameter, match_neurons
from jlab_compress.training.optimizer_twins import moved_in_trial, rebuilt

# How a state entry grows with the gradient or the parameter; needed where the gauge rescales those.
_LINEAR = ("momentum_buffer", "exp_avg", "grad_avg", "exp_inf", "prev", "ax")
_SQUARE = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta")
_POWERS = dict.fromkeys(_LINEAR, 1) | dict.fromkeys(_SQUARE, 2)


@shielded()
def transfer_optimizer(optimizer: Optimizer, original: nn.Module, slim: nn.Module) -> Optimizer:
    """Return the optimizer on the slim model's parameters, with its state carried over.

    Each kept neuron takes its own momentum, moments and step count along, so training goes on as if
    nothing had happened: exactly so where the dropped neurons were copies of kept ones. Where nodes have
    moved, a slim neuron takes the mean over the original neurons that are nearest to it. Parameter groups
    keep their order and options; hooks and schedulers stay with the old optimizer. An optimizer that drives
    another one (SAM, Lookahead) takes that along. In the end both take a step on copies: what moves in the
    original must move in the slim model.

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
        If `optimizer` is none, or is LBFGS, whose history is one vector over all parameters; or one of the
        models is none.
    ValueError
        If it owns parameters that `original` does not have, its state does not go neuron by neuron or is a
        copy of weights, it keeps other tensors of its own, neurons have moved behind a batch norm, or the
        step on copies fails or leaves a parameter where it is.

    Notes
    -----
    Cost: one pass over the state; for moved nodes also n s distances.
    """
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            f"optimizer: expected a torch optimizer with state by parameter, got {type(optimizer).__name__}"
        )
    for name, model in (("original", original), ("slim", slim)):
        if not isinstance(model, nn.Module):
            raise TypeError(f"{name}: expected a torch.nn.Module, got {type(model).__name__}")
    names = {id(p): name for name, p in unwrapped(original).named_parameters()}
    targets = dict(unwrapped(slim).named_parameters())
    matches = {match.block.name: match for match in match_neurons(original, slim)}
    axes = axes_by_parameter(slim)

    def target(old: Tensor) -> Tensor:
        return targets[_name_of(old, names)]

    def carried(value: Any, key: str, old: Tensor) -> Any:
        own = [(matches[block], axis) for block, axis in axes.get(names[id(old)], [])]
        return _laid_out(_carried(value, key, old, own), target(old))

    twin = rebuilt(optimizer, target, carried)
    left = moved_in_trial(optimizer, names) - moved_in_trial(twin, {id(p): n for n, p in targets.items()})
    if left:
        raise ValueError(
            f"optimizer: in a trial step on copies {type(twin).__name__} does not move "
            f"{', '.join(sorted(left))} of the slim model, as what it keeps belongs to the original's "
            "parameters; start a new optimizer on the slim model"
        )
    return twin


def _name_of(parameter: Tensor, names: Mapping[int, str]) -> str:
    if id(parameter) not in names:
        raise ValueError(
            f"optimizer: a parameter of shape {tuple(parameter.shape)} is not of the original model; "
            "pass the model that it was built for"
        )
    return names[id(parameter)]


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """Return a state entry in the memory order of its parameter, which fused optimizers take for granted."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _carried(value: Any, key: str, parameter: Tensor, matches: list[tuple[Match, UnitAxis]]) -> Any:
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
    for match, axis in matches:
        if match.block.norm is not None and match.block.indices is None:
            raise ValueError(
                f"optimizer: block {match.block.name!r} has moved neurons with new scales in the batch norm "
                f"{match.block.norm}, to which its state {key!r} does not belong; start a new optimizer on "
                "the slim model"
            )
        if carried.shape[axis.axis] == 1 and parameter.shape[axis.axis] != 1:
            continue
        carried = axis.carry(carried, match.shares)
        if key not in _POWERS and _is_copy(value, parameter):
            raise ValueError(
                f"optimizer: its state {key!r} is a copy of weights, which those of the slim block "
                f"{match.block.name!r} may have left; start a new optimizer on the slim model"
            )
        if match.root is not None:
            if key not in _POWERS:
                raise ValueError(
                    f"optimizer: how its state {key!r} changes in the plain gauge is not known; "
                    "compress with plain=False or start a new optimizer on the slim model"
                )
            carried = axis.scale(carried, match.root ** _POWERS[key])
    return carried


def _is_copy(value: Tensor, parameter: Tensor) -> bool:
    """Tell whether a state is near to its parameter, as slow or averaged weights are."""
    return bool((value - parameter.detach()).norm() < 0.5 * parameter.detach().norm())
