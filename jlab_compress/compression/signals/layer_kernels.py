"""Tangent kernels of a whole network between calibration rows, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.refinement import spread_error
from jlab_compress.compression.signals.backward import outputs_with_rows, random_sum
from jlab_compress.compression.signals.gradient_factors import SharedSide, Side, side_of
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.fitting.kernels.row_gram import squared_kernel_error

ROWS = 256


@dataclass(frozen=True)
class Answer:
    """What a slim model is to give on one call.

    Parameters
    ----------
    outputs : list of Tensor
        The model's outputs.
    rows : list of Tensor
        For each layer the rows between which gradients are compared.
    kernels : list of Tensor
        Their inner products.
    """

    outputs: list[Tensor]
    rows: list[Tensor]
    kernels: list[Tensor]


@dataclass(frozen=True)
class Tangents:
    """What one call gives and how a gradient step at one row would move another, layer by layer."""

    outputs: list[Tensor]
    sides: list[Side | SharedSide]

    @torch.no_grad()
    def answer(self, generator: torch.Generator) -> Answer:
        """Return what these tangents ask of a slim model: outputs, and kernels at up to 256 rows.

        Rows to which nothing is sent back, and layers with nothing else, do not count.
        """
        alive = [side.alive for side in self.sides]
        rows = [some[torch.randperm(len(some), generator=generator)[:ROWS].to(some.device)] for some in alive]
        kernels = [side.kernel(some) for side, some in zip(self.sides, rows, strict=True)]
        return Answer(self.outputs, rows, kernels)

    def error(self, wanted: Answer, *, movement: float = 0.0) -> Tensor:
        """Return the squared relative error of the outputs plus the mean one of the layers' kernels.

        Outputs that training will move by `movement` times their size need not be met better than that.
        """
        pairs = zip(self.outputs, wanted.outputs, strict=True)
        errors = [spread_error(a, b, movement * float(b.norm())) for a, b in pairs]
        every = zip(self.sides, wanted.rows, wanted.kernels, strict=True)
        kernels = [
            squared_kernel_error(side.kernel(rows), kernel) for side, rows, kernel in every if len(rows) > 0
        ]
        return torch.stack(errors).sum() + sum(kernels) / max(1, len(kernels))


def tangents(
    model: nn.Module, call: Call, layers: Sequence[str], generator: torch.Generator, *, graph: bool = False
) -> Tangents:
    """Run a model on one call, and backwards for a random sum of its outputs.

    Parameters
    ----------
    model : nn.Module
        Original or slim.
    call : Call
        Its inputs.
    layers : sequence of str
        Dotted paths of linear layers, convolutions and batch norms.
    generator : torch.Generator
        Draws the sum.
    graph : bool
        Whether all that is returned can be differentiated.

    Raises
    ------
    RuntimeError
        If something between the layers and the outputs cannot be differentiated, with `graph` twice.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            left = output if output.requires_grad else output.detach().requires_grad_()
            seen[name] = (args[0] if args else next(iter(kwargs.values())), left)
            return left.clone()  # which an activation may change in place

        return hook

    modules = [model.get_submodule(name) for name in layers]
    hooks = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in zip(layers, modules, strict=True)
    ]
    try:
        with undisturbed(model), torch.enable_grad():
            outputs = outputs_with_rows(model, call)
            total = random_sum(outputs, call, generator)
            left = [seen[name][1] for name in layers]
            found = torch.autograd.grad(total, left, create_graph=graph, materialize_grads=True)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.set_grad_enabled(graph):
        sides = [
            side_of(module, seen[name][0], cotangents, call)
            for name, module, cotangents in zip(layers, modules, found, strict=True)
        ]
    return Tangents(outputs if graph else [output.detach() for output in outputs], sides)
