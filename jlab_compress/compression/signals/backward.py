"""Runs of a model whose hidden states, block inputs and backward signals are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.capture import ReachedError, means_of, rows_of
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.inspection.block import Block

ROWS = 256


@dataclass(frozen=True)
class Run:
    """What one call left behind.

    Parameters
    ----------
    states : list of Tensor
        What leaves the watched modules, as rows without padding, and behind the last of them, where it
        gives one row per position, the means over positions: what is read from a sequence is more often its
        mean than any one position. Then the model's outputs, where they are wanted or no module is watched.
    inputs : mapping of str to Tensor (q, n_in)
        By block name, the rows that enter it.
    cotangents : mapping of str to Tensor (q, n_out)
        By block name, what a random sum of the outputs sends back to the block's output.
    """

    states: list[Tensor]
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    cotangents: Mapping[str, Tensor] = field(default_factory=dict)

    def picked(self, name: str, generator: torch.Generator) -> Tensor:
        """Return up to 256 of the rows of a block to which something is sent back."""
        alive = self.cotangents[name].abs().sum(dim=1).nonzero()[:, 0]
        return alive[torch.randperm(len(alive), generator=generator)[:ROWS].to(alive.device)]


def run(
    model: nn.Module,
    call: Call,
    watched: Sequence[str],
    blocks: Sequence[Block] = (),
    *,
    whole: bool = False,
    gradients: bool = False,
    generator: torch.Generator | None = None,
) -> Run:
    """Run a model in evaluation mode and return what was watched.

    Parameters
    ----------
    model : nn.Module
        Original or slim.
    call : Call
        Its inputs.
    watched : sequence of str
        Dotted paths of the modules whose states are returned.
    blocks : sequence of Block
        Those whose inputs are returned.
    whole : bool
        Whether the model's outputs are states too.
    gradients : bool
        Whether the states and inputs can be differentiated.
    generator : torch.Generator, optional
        Draws a random sum of the outputs; the blocks' cotangents are its gradients. With neither the run ends
        once it has been through all watched modules and into all blocks.
    """
    outputs: list[Tensor] = []
    left: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    leaves: dict[str, Tensor] = {}
    to_the_end = whole or not watched or generator is not None

    def seen_all() -> None:
        if not to_the_end and len(left) == len(watched) and len(inputs) == len(blocks):
            raise ReachedError

    hooks = [model.get_submodule(name).register_forward_hook(_keep(left, name, seen_all)) for name in watched]
    for block in blocks:
        maker, reader = (model.get_submodule(path) for path in (block.incoming[0], block.outgoing))
        keep = _keep_input(inputs, block.name, seen_all)
        hooks.append(maker.register_forward_pre_hook(keep, with_kwargs=True))
        if generator is not None:
            hooks.append(reader.register_forward_hook(_add_leaf(leaves, block.name)))
    try:
        with undisturbed(model), torch.set_grad_enabled(gradients or generator is not None):
            outputs = outputs_with_rows(model, call)
    except ReachedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    states = [rows_of(left[name], call) for name in watched]
    if watched and left[watched[-1]].dim() == 3:
        states.append(means_of(left[watched[-1]], call))
    states += outputs if whole or not watched else []
    sent = _sent_back(outputs, leaves, call, generator) if generator is not None else {}
    if not gradients:
        states, inputs = [s.detach() for s in states], {name: x.detach() for name, x in inputs.items()}
    return Run(states, {name: rows_of(x, call) for name, x in inputs.items()}, sent)


def _keep(found: dict[str, Tensor], name: str, then: Callable[[], None]) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        found[name] = output
        then()

    return keep


def _keep_input(found: dict[str, Tensor], name: str, then: Callable[[], None]) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, kwargs: Any) -> None:
        found[name] = args[0] if args else next(iter(kwargs.values()))
        then()

    return keep


def _add_leaf(leaves: dict[str, Tensor], name: str) -> Callable[..., Tensor]:
    def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        leaves[name] = torch.zeros_like(output, requires_grad=True)
        return output + leaves[name]

    return add


@torch.enable_grad()
def _sent_back(
    outputs: list[Tensor], leaves: dict[str, Tensor], call: Call, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the gradients at the leaves, as rows without padding, of a random sum of the outputs."""
    total = random_sum(outputs, call, generator)
    if not total.requires_grad:
        return {}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    gradients = zip(leaves, found, strict=True)
    return {name: rows_of(g, call) for name, g in gradients if g is not None and bool(g.any())}


def outputs_with_rows(model: nn.Module, call: Call) -> list[Tensor]:
    """Return the outputs of a call but for single numbers, such as a loss beside the logits."""
    return [output for output in outputs_of(call(model)) if output.dim() > 0]


def random_sum(outputs: list[Tensor], call: Call, generator: torch.Generator) -> Tensor:
    """Return a random sum of all outputs of a call.

    Each row of a batch has its own random vector, the same at all positions that the mask keeps, or of all
    pixels of an image: what is read from a sequence is read everywhere.
    """
    total = torch.zeros(())
    for output in outputs:
        if output.dim() > 3:
            first = output.detach().flatten(2)[:, :, 0].view(*output.shape[:2], *[1] * (output.dim() - 2))
        else:
            first = (output if output.dim() < 3 else output[:, :1]).detach()
        draw = torch.randn(first.shape, generator=generator).to(first)
        kept = rows_of(output, call) if output.dim() == 3 else output
        drawn = rows_of(draw.expand_as(output), call) if output.dim() == 3 else draw
        total = total.to(output) + (kept * drawn).sum()
    return total
