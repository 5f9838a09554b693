"""What linear layers and convolutions say of their units: weights as matrices, biases, multiplicities."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from jlab_compress.slim.operators import CONVOLUTIONS, is_conv1d, operator_of
from jlab_compress.slim.units import UnitAxis
from jlab_compress.slim.weighted import WeightedLayer, WeightedLinear


def is_conv(module: nn.Module) -> bool:
    """Return whether a module is a convolution whose channels can be read and replaced."""
    conv: Any = module
    if type(module) not in CONVOLUTIONS and not isinstance(module, tuple(CONVOLUTIONS.values())):
        return False
    return bool(conv.groups == 1 and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple))


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer whose neurons can be read and replaced."""
    return type(module) is nn.Linear or isinstance(module, WeightedLinear) or is_conv1d(module)


def matrix_of(module: nn.Module) -> Tensor:
    """Return a layer's weight with one row per unit, (out, in), without multiplicities or a graph.

    A row of a convolution is its filter, flattened.
    """
    weight: Any = module.weight
    operator = operator_of(module)
    axis = 0 if operator is None else operator.makes.get("weight", 0)
    matrix: Tensor = weight.detach().movedim(axis, 0).flatten(1)
    return matrix


def columns_of(module: nn.Module, repeat: int = 1) -> Tensor:
    """Return a layer's weight with one row for each neuron that it reads, (in, ...).

    `repeat` consecutive inputs of a linear layer belong to one neuron; its row holds all their columns.
    """
    weight: Any = module.weight
    operator = operator_of(module)
    axis = 1 if operator is None else operator.reads.get("weight", 1)
    return UnitAxis("", "weight", axis, "reads", each=repeat).columns(weight.detach())


def bias_of(module: nn.Module) -> Tensor | None:
    """Return a layer's bias (out,) without a graph, or None."""
    bias: Any = module.bias
    return None if bias is None else bias.detach()


def input_scale(module: nn.Module) -> Tensor | None:
    """Return sqrt(c) for each column of `matrix_of`, or None where all neurons that it reads are single.

    Scaling inputs and weight columns by sqrt(c) turns sums over copies into plain sums, in the outputs
    and in the tangent kernel alike; so a fit need not know about the multiplicities in front of it.
    """
    counts = module.input_multiplicities if isinstance(module, WeightedLayer) else None
    if counts is None:
        return None
    return counts.sqrt().repeat_interleave(matrix_of(module).shape[1] // len(counts))
