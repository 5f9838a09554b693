"""Tangent kernels of a whole network between calibration rows, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.backward import random_sum
from jlab_compress.compression.signals.gradient_factors import LayerGradients, layer_gradients
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Change, Tap, capture
from jlab_compress.execution.outputs import outputs_with_rows
from jlab_compress.fitting.kernels.row_kernels import spread_error, squared_kernel_error

ROWS = 256


@dataclass(frozen=True)
class KernelTargets:
    """What the original model, as the teacher, wants its slim form to give on one call.

    Parameters
    ----------
    outputs : list of Tensor
        The model's outputs.
    rows : list of Tensor
        For each layer the rows between which gradients are compared.
    kernels : list of Tensor
        For each layer the inner products of its gradients at these rows.
    """

    outputs: list[Tensor]
    rows: list[Tensor]
    kernels: list[Tensor]


@dataclass(frozen=True)
class Tangents:
    """The outputs of one run, and the gradients of a random sum of them with respect to each layer."""

    outputs: list[Tensor]
    gradients: list[LayerGradients]

    @torch.no_grad()
    def targets(self, generator: torch.Generator) -> KernelTargets:
        """Return these outputs, and kernels between up to 256 rows, as targets for a slim model.

        Only rows whose gradient is not zero are drawn; a layer without such rows does not count.
        """
        reached = [layer.reached for layer in self.gradients]
        rows = [
            some[torch.randperm(len(some), generator=generator)[:ROWS].to(some.device)] for some in reached
        ]
        kernels = [layer.kernel(some) for layer, some in zip(self.gradients, rows, strict=True)]
        return KernelTargets(self.outputs, rows, kernels)

    def error(self, wanted: KernelTargets, *, displacement: float = 0.0) -> Tensor:
        """Return the squared relative error of the outputs, plus that of the kernels, mean over layers.

        Training is expected to displace the outputs by `displacement` times their size; they need not be met
        any better than that.
        """
        pairs = zip(self.outputs, wanted.outputs, strict=True)
        errors = [spread_error(a, b, displacement * float(b.norm())) for a, b in pairs]
        every = zip(self.gradients, wanted.rows, wanted.kernels, strict=True)
        kernels = [
            squared_kernel_error(layer.kernel(rows), kernel) for layer, rows, kernel in every if len(rows) > 0
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
    behind: dict[str, Tensor] = {}
    found = capture(
        model,
        call,
        {name: Tap(name, "input") for name in layers},
        changes={name: _differentiable(behind, name) for name in layers},
        gradients=True,
        to_the_end=True,
    )
    with torch.enable_grad():
        outputs = outputs_with_rows(found.result)
        total = random_sum(outputs, call, generator)
        cotangents = torch.autograd.grad(
            total, [behind[name] for name in layers], create_graph=graph, materialize_grads=True
        )
    with torch.set_grad_enabled(graph):
        gradients = [
            layer_gradients(model.get_submodule(name), found.values[name], sent, call)
            for name, sent in zip(layers, cotangents, strict=True)
        ]
    return Tangents(outputs if graph else [output.detach() for output in outputs], gradients)


def _differentiable(behind: dict[str, Tensor], name: str) -> Change:
    def keep(output: Tensor) -> Tensor:
        behind[name] = output if output.requires_grad else output.detach().requires_grad_()
        return behind[name].clone()  # which an activation may change in place

    return keep
