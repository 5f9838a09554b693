"""Which slim neuron stands for which original ones, and where each parameter keeps its neurons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.conversion import plan_of
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.recorded import parts_of
from jlab_compress.slim.surgery import bias_of, is_conv1d


@dataclass(frozen=True)
class Match:
    """One block's neurons in both models.

    Parameters
    ----------
    block : BlockPlan
        From the slim model's plan.
    shares : Tensor (s, n)
        Rows that average over the original neurons that a slim one stands for; a single one where the
        neuron was kept.
    wide, narrow : Tensor, (n, m) and (s, m)
        All parameters of each neuron as points, without the plain gauge, each tensor divided by its rms
        in the original. Weights to neurons of a neighbouring block that has moved nodes are left out.
    """

    block: BlockPlan
    shares: Tensor = field(repr=False)
    wide: Tensor = field(repr=False)
    narrow: Tensor = field(repr=False)

    @property
    def root(self) -> Tensor | None:
        """sqrt(c) by which the plain gauge scales a neuron's parameters; None in the weighted gauge."""
        counts = self.block.multiplicities
        return None if counts is None else torch.tensor(counts, dtype=torch.float64).sqrt()


@dataclass(frozen=True)
class Axis:
    """The axis of a parameter that runs over a block's neurons, `repeat` entries for each.

    Of heads it has several `sections`, each with all heads in turn.
    """

    axis: int
    repeat: int
    sections: int = 1

    def carry(self, value: Tensor, shares: Tensor) -> Tensor:
        """Return values of slim neurons from those of original ones, along this axis."""
        shares = torch.kron(shares, torch.eye(self.repeat).to(shares)).to(value)
        shares = torch.kron(torch.eye(self.sections).to(shares), shares)
        return torch.movedim(torch.tensordot(shares, value, dims=([1], [self.axis])), 0, self.axis)

    def scale(self, value: Tensor, factors: Tensor) -> Tensor:
        """Return values multiplied neuron by neuron along this axis."""
        each = factors.to(value).repeat_interleave(self.repeat).repeat(self.sections)
        return value * each.view([-1 if a == self.axis else 1 for a in range(value.dim())])


def block_axes(model: nn.Module, block: BlockPlan) -> Iterator[tuple[str, Axis]]:
    """Yield each parameter of a block of a slim model by name, with its axis that runs over the neurons."""
    for part in parts_of(model, block) if block.recorded else ():
        entries = getattr(model.get_submodule(part.module), part.key).shape[part.axis]
        each = entries // (part.sections * block.width_after)
        yield f"{part.module}.{part.key}", Axis(part.axis, each, part.sections)
    for path in block.incoming if not block.recorded else ():
        module = model.get_submodule(path)
        yield f"{path}.weight", Axis(1 if is_conv1d(module) else 0, 1)
        if bias_of(module) is not None:
            yield f"{path}.bias", Axis(0, 1)
    if block.norm is not None:
        yield f"{block.norm}.weight", Axis(0, 1)
        yield f"{block.norm}.bias", Axis(0, 1)
    reader = model.get_submodule(block.outgoing)
    yield f"{block.outgoing}.weight", Axis(0 if is_conv1d(reader) else 1, block.repeat)


def match_neurons(original: nn.Module, slim: nn.Module) -> tuple[Match, ...]:
    """Match each block's slim neurons with the original ones they stand for.

    A kept neuron stands for itself; where nodes have moved, each original neuron belongs to the nearest
    slim one, and a slim one without any takes its nearest.

    Parameters
    ----------
    original, slim : nn.Module
        The model, and its slim form that has not been folded; at any time of their training.

    Raises
    ------
    ValueError
        If `slim` has no plan, or is folded.

    Notes
    -----
    Cost: n s distances of dimension m per block.
    """
    original, slim = unwrapped(original), unwrapped(slim)
    blocks = plan_of(slim).blocks
    shares: dict[str, Tensor] = {}
    for block in blocks:
        if block.gauge == "folded":
            raise ValueError(f"slim: block {block.name!r} is folded; pass the slim model before fold")
        if block.indices is not None:
            shares[block.name] = torch.eye(block.width_before, dtype=torch.float64)[list(block.indices)]
    found = []
    for block in blocks:
        wide, narrow = _points(original, slim, block, shares)
        if block.name not in shares:
            shares[block.name] = _nearest(wide, narrow)
        found.append(Match(block, shares[block.name], wide, narrow))
    return tuple(found)


def axes_by_parameter(slim: nn.Module) -> dict[str, list[tuple[str, Axis]]]:
    """Return, per parameter name, the blocks whose neurons it holds, with the axes."""
    found: dict[str, list[tuple[str, Axis]]] = defaultdict(list)
    for block in plan_of(slim).blocks:
        for name, axis in block_axes(unwrapped(slim), block):
            found[name].append((block.name, axis))
    return dict(found)


def _points(
    original: nn.Module, slim: nn.Module, block: BlockPlan, shares: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    all_axes, columns = axes_by_parameter(slim), []
    before, after = dict(original.named_parameters()), dict(slim.named_parameters())
    for name, axis in block_axes(slim, block):
        wide, narrow = (model[name].detach().double().cpu() for model in (before, after))
        for other, along in all_axes[name]:
            if other != block.name and other in shares:
                wide = along.carry(wide, shares[other])
        pair = [_rows(wide, axis, block.width_before), _rows(narrow, axis, block.width_after)]
        if pair[0].shape[1] == pair[1].shape[1]:
            rms = pair[0].square().mean().sqrt().clamp_min(1e-30)
            columns.append([part / rms for part in pair])
    wide, narrow = (torch.cat(parts, dim=1) for parts in zip(*columns, strict=True))
    if block.multiplicities is not None:
        narrow = narrow / torch.tensor(block.multiplicities).to(narrow).sqrt()[:, None]
    return wide, narrow


def _rows(value: Tensor, axis: Axis, neurons: int) -> Tensor:
    first = value.movedim(axis.axis, 0)
    return first.reshape(axis.sections, neurons, -1).transpose(0, 1).flatten(1)


def _nearest(wide: Tensor, narrow: Tensor) -> Tensor:
    distances = torch.cdist(narrow, wide, compute_mode="donot_use_mm_for_euclid_dist")
    shares = torch.zeros_like(distances)
    shares[distances.argmin(0), torch.arange(wide.shape[0])] = 1.0
    empty = shares.sum(1) == 0
    shares[empty, distances.argmin(1)[empty]] = 1.0
    return shares / shares.sum(1, keepdim=True)
