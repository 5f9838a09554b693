"""The table of layers: which of their tensors make, treat or read units, on which axis.

A layer of another type is one more row: the `Operator` that `find_blocks` and `load` are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from jlab_compress.slim.multihead import SlimMultiheadAttention, open_attention
from jlab_compress.slim.units import Operator, Role, UnitAxis
from jlab_compress.slim.weighted import (
    CONVOLUTIONS,
    WeightedBatchNorm1d,
    WeightedBatchNorm2d,
    WeightedBatchNorm3d,
    WeightedConv1D,
    WeightedLinear,
)


def _linear_sizes(linear: Any) -> Mapping[str, int]:
    return {"out_features": linear.weight.shape[0], "in_features": linear.weight.shape[1]}


def _conv1d_sizes(conv1d: Any) -> Mapping[str, int]:
    return {"nx": conv1d.weight.shape[0], "nf": conv1d.weight.shape[1]}


def _conv_sizes(conv: Any) -> Mapping[str, int]:
    """Return channels and groups; a depthwise convolution keeps its number of filters for each channel."""
    made, read = conv.weight.shape[:2]
    if conv.groups == 1:
        return {"out_channels": made, "in_channels": read}
    channels = made * conv.in_channels // conv.out_channels
    return {"out_channels": made, "in_channels": channels, "groups": channels}


def _norm_sizes(norm: Any) -> Mapping[str, int]:
    return {"num_features": len(norm.weight)}


def _attention_sizes(attention: Any) -> Mapping[str, int]:
    return {"num_heads": attention.out_proj.weight.shape[1] // attention.head_dim}


def is_conv1d(module: nn.Module) -> bool:
    """Return whether a module is the transformers library's linear layer with an (in, out) weight."""
    return isinstance(module, WeightedConv1D) or (
        type(module).__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "nx")
    )


def _opened_linear(module: nn.Module) -> bool:
    return type(module) is NonDynamicallyQuantizableLinear


ROWS = {"weight": 0, "bias": 0}
STATISTICS = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias")
PACKED = {"in_proj_weight": 3, "in_proj_bias": 3}

NORMS = {
    nn.BatchNorm1d: WeightedBatchNorm1d,
    nn.BatchNorm2d: WeightedBatchNorm2d,
    nn.BatchNorm3d: WeightedBatchNorm3d,
}
OPERATORS: tuple[Operator, ...] = (
    Operator(nn.Linear, WeightedLinear, ROWS, {}, {"weight": 1}, sizes=_linear_sizes, fits=_opened_linear),
    Operator(
        None, WeightedConv1D, {"weight": 1, "bias": 0}, {}, {"weight": 0}, sizes=_conv1d_sizes, fits=is_conv1d
    ),
    *(
        Operator(stock, weighted, ROWS, ROWS, {"weight": 1}, sizes=_conv_sizes)
        for stock, weighted in CONVOLUTIONS.items()
    ),
    *(Operator(stock, weighted, {}, STATISTICS, sizes=_norm_sizes) for stock, weighted in NORMS.items()),
    Operator(
        nn.MultiheadAttention,
        SlimMultiheadAttention,
        dict.fromkeys(PROJECTIONS, 0),
        sections=PACKED,
        sizes=_attention_sizes,
        counts={"makes": "head_multiplicities"},
        one_count_each=True,
        open=open_attention,
    ),
)


def operator_of(module: nn.Module, more: Sequence[Operator] = ()) -> Operator | None:
    """Return what is known of a layer's type, or None.

    Parameters
    ----------
    module : nn.Module
        Of a stock class or of a slim one.
    more : sequence of Operator
        Rows to look at before those of the table.
    """
    known: Operator | None = vars(module).get("unit_operator")
    return known or next((row for row in (*more, *OPERATORS) if row.meant(module)), None)


def known_operator(model: nn.Module, name: str, more: Sequence[Operator] = ()) -> Operator:
    """Return what is known of the type of the layer at a dotted path; see `operator_of`.

    Raises
    ------
    ValueError
        If nothing is.
    """
    module = model.get_submodule(name)
    found = operator_of(module, more)
    if found is None:
        raise ValueError(
            f"{name}: where a {type(module).__name__} keeps its units is not known; pass an Operator for it"
        )
    return found


def axes_of(
    model: nn.Module,
    name: str,
    role: Role,
    width: int,
    *,
    sections: int = 1,
    more: Sequence[Operator] = (),
) -> Iterator[UnitAxis]:
    """Yield the axes on which one layer has units in a role.

    Parameters
    ----------
    model, name : nn.Module, str
        The layer's model and its dotted path.
    role : {"makes", "treats", "reads"}
        What it does with the units.
    width : int
        Their number.
    sections : int
        Stretches of the axis, each with all units in turn, where the table does not say so.
    more : sequence of Operator
        Rows besides those of the table.

    Raises
    ------
    ValueError
        If nothing is known of the layer's type, or an axis does not fall into equal parts, one for each unit.
    """
    module, operator = model.get_submodule(name), known_operator(model, name, more)
    if not operator.tensors(role):
        raise ValueError(f"{name}: by its Operator, a {type(module).__name__} {role} no units")
    for tensor, axis in operator.tensors(role).items():
        value = getattr(module, tensor, None)
        if isinstance(value, Tensor):
            stretches = operator.sections.get(tensor, 1 if operator.sections else sections)
            each, rest = divmod(value.shape[axis], stretches * width)
            if rest:
                raise ValueError(
                    f"{name}.{tensor}: its {value.shape[axis]} entries do not fall into "
                    f"{stretches} x {width} equal parts, one for each unit"
                )
            yield UnitAxis(name, tensor, axis, role, stretches, each)


def units_of(
    model: nn.Module,
    incoming: Sequence[str],
    outgoing: str,
    width: int,
    *,
    treating: Sequence[str] = (),
    sections: Sequence[int] = (),
    more: Sequence[Operator] = (),
) -> tuple[UnitAxis, ...]:
    """Return all axes of the units between some layers.

    Parameters
    ----------
    model : nn.Module
        Has the layers.
    incoming, outgoing : sequence of str, str
        Dotted paths of the layers that make the units, and of the one that reads them.
    width : int
        Their number.
    treating : sequence of str
        Layers that treat each unit on its own.
    sections : sequence of int
        For each incoming layer, the stretches of its rows; one by default.
    more : sequence of Operator
        Rows besides those of the table.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> [(unit.name, unit.axis, unit.role) for unit in units_of(net, ("0",), "2", 8)]
    [('0.weight', 0, 'makes'), ('0.bias', 0, 'makes'), ('2.weight', 1, 'reads')]
    """
    found: list[UnitAxis] = []
    for name, stretches in zip(incoming, sections or (1,) * len(incoming), strict=True):
        found += axes_of(model, name, "makes", width, sections=stretches, more=more)
    for name in treating:
        found += axes_of(model, name, "treats", width, more=more)
    return (*found, *axes_of(model, outgoing, "reads", width, more=more))
