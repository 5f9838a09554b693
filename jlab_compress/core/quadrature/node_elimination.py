"""Fewer nodes for the same moments by elimination, or more moments for the same number of nodes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jlab_compress.core.polynomials import importance, largest_degree
from jlab_compress.core.quadrature.gauss_newton import MomentGoal, Nodes, settle_nodes

_TRIES = 10_000  # moments times nodes that are tried for removal before elimination counts as stalled
_ELIMINATION_STEPS = 120  # steps for the nodes that are left after a removal
_FILL = 0.6  # moments per unknown that a fixed number of nodes meets exactly
_MOST = 4400  # moments that are looked at: a step costs O(N^3)
_DRAWS = 10  # steps between moments that cannot all be met


def eliminate_nodes(points: Tensor, counts: Tensor, goal: MomentGoal, *, least: int = 1) -> Nodes:
    """Return the fewest nodes found that meet the goal, from nodes that already do.

    Nodes of small significance c_j sum_i phi_i(z_j)^2 are dropped, many at once while that works
    and one by one in the end, and the others settle_nodes again. Every node brings m + 1 unknowns, so
    about N / (m + 1) nodes are the ideal.

    Parameters
    ----------
    points : Tensor, (s, m)
        Nodes that meet the goal, float64, on the host.
    counts : Tensor, (s,)
        Their multiplicities.
    goal : MomentGoal
        The moments and the box.
    least : int
        Stop at so many nodes.

    Returns
    -------
    Nodes
        With error <= 1e-10; the start where nothing could be dropped.

    Notes
    -----
    Source: Xiao and Gimbutas (2010), node elimination. Cost O(N^3) for each removal.
    """
    best = Nodes(points, counts, float(goal.missing(points, counts).abs().max()))
    batch, tries = max(1, len(counts) // 4), max(6, _TRIES // len(goal.moments))
    while len(best.counts) > least:
        batch = min(batch, len(best.counts) - least)
        significance = best.counts * (goal.basis.columns(best.points) / goal.scale[:, None]).square().sum(0)
        order = significance.argsort()
        if batch > 1:
            tried = _without(best, order[:batch], goal)
            if tried is None:
                batch //= 2
            else:
                best = tried
            continue
        found = (_without(best, order[i : i + 1], goal) for i in range(min(tries, len(order))))
        smaller = next((nodes for nodes in found if nodes is not None), None)
        if smaller is None:
            break
        best = smaller
    return best


def _without(nodes: Nodes, dropped: Tensor, goal: MomentGoal) -> Nodes | None:
    """Return settled nodes without some, or None where the rest cannot meet the goal."""
    kept = torch.ones(len(nodes.counts), dtype=torch.bool)
    kept[dropped] = False
    unknowns = int(kept.sum()) * (nodes.points.shape[1] + 1)
    if unknowns < len(goal.moments):
        return None
    counts = nodes.counts[kept] * (nodes.counts.sum() / nodes.counts[kept].sum())
    settled = settle_nodes(nodes.points[kept], counts, goal, rounds=_ELIMINATION_STEPS)
    return settled if settled.certified else None


def raise_degree(points: Tensor, counts: Tensor, goal: MomentGoal) -> tuple[Nodes, int]:
    """Return as many nodes as given that meet a high degree exactly, and that degree.

    First the nodes settle_nodes between all moments of the goal, weighed by how much they are expected
    to matter; then those up to a degree that leaves room (60 % of the unknowns) are met exactly by
    the least change, a lower degree being taken where that fails.
    """
    dimension, unknowns = points.shape[1], points.numel() + len(points)
    top = min(goal.basis.degree, largest_degree(dimension, max(1, int(_FILL * unknowns))))
    weight = importance(dimension, goal.basis.degree)
    weight = weight / weight[: goal.up_to(top).basis.functions].min()
    drawn = settle_nodes(
        points, counts, replace(goal, scale=goal.scale / weight.clamp(max=1.0)), rounds=_DRAWS
    )
    for degree in range(top, 0, -1):
        settled = settle_nodes(drawn.points, drawn.counts, goal.up_to(degree))
        if settled.certified:
            return settled, degree
    return settle_nodes(points, counts, goal.up_to(0)), 0


def reachable_degree(dimension: int, size: int) -> int:
    """Return the highest degree that `size` moved nodes look at: no more moments than unknowns."""
    return largest_degree(dimension, max(1, min(_MOST, size * (dimension + 1))))
