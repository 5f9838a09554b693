"""Which slim neuron stands for which original ones, and where each parameter keeps its neurons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.conversion import plan_of
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.units import UnitAxis

ZERO = 1e-6  # shares of another size below this are taken for none


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
        in the original (in the slim model where that is next to none). Weights to neurons of a neighbouring
        block that has moved nodes are left out.
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


def axes_by_parameter(slim: nn.Module) -> dict[str, list[tuple[str, UnitAxis]]]:
    """Return, per parameter name, the blocks whose units it holds, with the axes."""
    names = dict(unwrapped(slim).named_parameters())
    found: dict[str, list[tuple[str, UnitAxis]]] = defaultdict(list)
    for block in plan_of(slim).blocks:
        for unit in block.units:
            if unit.name in names:
                found[unit.name].append((block.name, unit))
    return dict(found)


def _points(
    original: nn.Module, slim: nn.Module, block: BlockPlan, shares: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    all_axes, columns = axes_by_parameter(slim), []
    before, after = dict(original.named_parameters()), dict(slim.named_parameters())
    for unit in block.units:
        if unit.name not in after:
            continue
        wide, narrow = (model[unit.name].detach().double().cpu() for model in (before, after))
        for other, along in all_axes[unit.name]:
            if along != unit and other in shares:
                wide = along.carry(wide, shares[other])
        pair = [unit.rows(wide), unit.rows(narrow)]
        if pair[0].shape[1] == pair[1].shape[1]:
            columns.append([part / _size(*pair) for part in pair])
    wide, narrow = (torch.cat(parts, dim=1) for parts in zip(*columns, strict=True))
    if block.multiplicities is not None:
        narrow = narrow / torch.tensor(block.multiplicities).to(narrow).sqrt()[:, None]
    return wide, narrow


def _size(wide: Tensor, narrow: Tensor) -> Tensor:
    """Return the rms of a tensor in the original, or in the slim model where that is next to none."""
    before, after = (part.square().mean().sqrt() for part in (wide, narrow))
    size = before if before > ZERO * after else after
    return size if size > 0 else torch.ones_like(size)


def _nearest(wide: Tensor, narrow: Tensor) -> Tensor:
    distances = torch.cdist(narrow, wide, compute_mode="donot_use_mm_for_euclid_dist")
    shares = torch.zeros_like(distances)
    shares[distances.argmin(0), torch.arange(wide.shape[0])] = 1.0
    empty = shares.sum(1) == 0
    shares[empty, distances.argmin(1)[empty]] = 1.0
    return shares / shares.sum(1, keepdim=True)
