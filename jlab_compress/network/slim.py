"""Slim layers, the plan that made them, and the way back to stock modules.

A slim layer keeps one neuron in place of c equal ones. It computes with c times the outgoing weight and
divides the gradients that reach a neuron's weights by c, so each parameter moves as each of the c copies
would have moved, under any optimizer and without any change of the training loop (Wang, Luo, Poggio,
Chuang, Ziyin 2026, section on learning dynamics).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.network.plan import Plan
from jlab_compress.network.tracing import copy_model

_PLAN = "jlab_compress_plan"


class _Weigh(torch.autograd.Function):
    """Multiply columns by their multiplicities; divide row gradients by theirs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
        return weight.clone() if columns is None else weight * columns

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return (gradients[0] if rows is None else gradients[0] / rows), None, None


def weigh(weight: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """Return the weight that a slim layer computes with.

    The gradient that arrives belongs to c equal incoming columns at once, in the mean form that each copy
    sees, and to the sum over c equal rows; so it passes the columns as it is and is divided for the rows.

    Parameters
    ----------
    weight : Tensor, (out, in) or (out,)
        One copy of each weight.
    columns : Tensor (in,) or None
        Multiplicities of the neurons that the layer reads; multiplied in forward.
    rows : Tensor, broadcastable to `weight`, or None
        Multiplicities of the neurons that the layer makes; divide the gradient in backward.

    Examples
    --------
    >>> w = torch.ones(2, 2, requires_grad=True)
    >>> weigh(w, torch.tensor([3.0, 1.0]), torch.tensor([[2.0], [1.0]])).sum().backward()
    >>> w.grad.tolist()
    [[0.5, 0.5], [1.0, 1.0]]
    """
    return cast(Tensor, _Weigh.apply(weight, columns, rows))  # type: ignore[no-untyped-call]


class WeightedLayer(nn.Module):
    """What slim layers share: two buffers of multiplicities and the weights they give.

    The buffers are `input_multiplicities`, (in,) or None, for the neurons that the layer reads, and
    `output_multiplicities`, (out,) or None, for the neurons that it makes. They are constant, saved in the
    state dict and move with `.to`; a layer between two slimmed blocks has both.
    """

    weight: Any
    bias: Any
    input_multiplicities: Tensor | None
    output_multiplicities: Tensor | None

    def weighted_weight(self) -> Tensor:
        """Return the (out, in) weight to compute with, for a weight stored as (out, in)."""
        rows = self.output_multiplicities
        return weigh(self.weight, self.input_multiplicities, None if rows is None else rows[:, None])

    def weighted_bias(self) -> Tensor | None:
        """Return the bias to compute with."""
        if self.bias is None or self.output_multiplicities is None:
            return cast("Tensor | None", self.bias)
        return weigh(self.bias, None, self.output_multiplicities)


class WeightedLinear(nn.Linear, WeightedLayer):
    """A linear layer that reads or makes neurons with multiplicities.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of kept neurons, not of the copies they stand for.
    bias : bool
        Whether there is one.
    input_multiplicities : Tensor (in_features,) or None
        c > 0 of the neurons read.
    output_multiplicities : Tensor (out_features,) or None
        c > 0 of the neurons made.

    Examples
    --------
    >>> layer = WeightedLinear(2, 1, bias=False, input_multiplicities=torch.tensor([3.0, 1.0]))
    >>> _ = nn.init.ones_(layer.weight)
    >>> layer(torch.ones(1, 2)).item()
    4.0
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        input_multiplicities: Tensor | None = None,
        output_multiplicities: Tensor | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("input_multiplicities", input_multiplicities)
        self.register_buffer("output_multiplicities", output_multiplicities)

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's outputs, (..., out_features)."""
        return F.linear(input, self.weighted_weight(), self.weighted_bias())


class WeightedConv1D(WeightedLayer):
    """The same for the layer of GPT-2 that stores its weight as (in, out).

    It is never built by hand: a `Conv1D` of a slim model's copy becomes one, keeping its attributes.
    """

    nf: int

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs, (..., nf)."""
        columns = self.input_multiplicities
        weight = weigh(self.weight, None if columns is None else columns[:, None], self.output_multiplicities)
        return F.linear(x, weight.T, self.weighted_bias())


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DataParallel or DistributedDataParallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in {"DataParallel", "DistributedDataParallel"}:
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def plan_of(slim: nn.Module) -> Plan:
    """Return the plan by which a slim model was made.

    Raises
    ------
    ValueError
        If the model has none.
    """
    plan = getattr(unwrapped(slim), _PLAN, None)
    if not isinstance(plan, Plan):
        raise ValueError(
            f"model: this {type(slim).__name__} has no compression plan; pass a slim model made by "
            "compress(...).model or load(...)"
        )
    return plan


def attach_plan(model: nn.Module, plan: Plan) -> None:
    """Store a plan on a model's root, where deepcopy and pickle keep it."""
    setattr(model, _PLAN, plan)


def fold(slim: nn.Module) -> nn.Module:
    """Return an equal model of stock modules only, for inference and export.

    The multiplicities go into the outgoing weights (computed in float64, cast back once). The function is
    the same; training is not: gradients of a folded model are no longer divided by c.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model` or `load(...)`; it stays as it is.

    Returns
    -------
    nn.Module
        A new model with the same attribute and parameter names.

    Examples
    --------
    >>> layer = WeightedLinear(2, 1, input_multiplicities=torch.tensor([3.0, 1.0]))
    >>> attach_plan(net := nn.Sequential(layer), Plan(()))
    >>> type(fold(net)[0]).__name__, bool(torch.equal(fold(net)[0].weight[0, 0], 3 * layer.weight[0, 0]))
    ('Linear', True)
    """
    plan = plan_of(slim)
    folded = copy_model(unwrapped(slim))
    for module in list(folded.modules()):
        if isinstance(module, WeightedLayer):
            _fold_layer(module)
    blocks = tuple(replace(b, gauge="folded") if b.gauge == "weighted" else b for b in plan.blocks)
    attach_plan(folded, replace(plan, blocks=blocks))
    return folded


def _fold_layer(module: WeightedLayer) -> None:
    columns = module.input_multiplicities
    if columns is not None:
        factors = columns.double() if isinstance(module, WeightedLinear) else columns.double()[:, None]
        weight = module.weight
        module.weight = nn.Parameter((weight.detach().double() * factors).to(weight), weight.requires_grad)
    as_stock(module)


def as_stock(module: nn.Module) -> None:
    """Turn a slim layer back into its stock class in place, dropping the multiplicities."""
    if isinstance(module, WeightedLayer):
        del module.input_multiplicities, module.output_multiplicities
        linear = isinstance(module, WeightedLinear)
        stock: Any = nn.Linear if linear else module.__dict__.pop("stock_class")
        module.__class__ = stock


def as_weighted(module: nn.Module) -> None:
    """Turn a stock layer into a slim one in place; its hooks, flags and attributes stay."""
    if isinstance(module, WeightedLayer):
        return
    if type(module) is nn.Linear:
        module.__class__ = WeightedLinear
    else:
        module.__dict__["stock_class"] = type(module)
        module.__class__ = WeightedConv1D
    module.register_buffer("input_multiplicities", None)
    module.register_buffer("output_multiplicities", None)
