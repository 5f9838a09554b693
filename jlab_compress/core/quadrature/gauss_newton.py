"""Settle nodes: move positions and multiplicities until all moments are met (host, float64)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.core.polynomials import ProductBasis, fit_basis

_SETTLING_STEPS = 40
CERTIFIED_ERROR = 1e-10  # the largest scaled moment error of nodes that are returned
_RIM = 0.1  # nodes may leave the bounding box by this share of its sides
_FEATURE_CHUNK = 4096  # rows whose features are held at once
_MET = 1e-13  # a scaled moment error that counts as rounding
_LEAST = 1e-3  # no multiplicity falls below this share of the mean
_STRIDE = 0.5  # the most that a step may change a multiplicity by, relative to itself


@dataclass(frozen=True)
class Nodes:
    """Nodes z (s, m) with multiplicities c (s,) and their largest scaled moment error."""

    points: Tensor
    counts: Tensor
    error: float

    @property
    def certified(self) -> bool:
        """Whether they meet the moments to 1e-10."""
        return self.error <= CERTIFIED_ERROR


@dataclass(frozen=True)
class MomentGoal:
    """What nodes have to meet.

    Parameters
    ----------
    basis : ProductBasis
        N functions.
    moments, scale : Tensor, (N,)
        The sums to be met, and the sums of absolute values that errors are measured by.
    low, high : Tensor, (m,)
        The box in which nodes stay.
    """

    basis: ProductBasis
    moments: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def missing(self, points: Tensor, counts: Tensor) -> Tensor:
        """Return the scaled moment errors, (N,)."""
        return (self.moments - self.basis.columns(points) @ counts) / self.scale

    def up_to(self, degree: int) -> MomentGoal:
        """Return the goal with the functions up to a lower degree only."""
        basis = ProductBasis(self.basis.centre, self.basis.scale, degree, self.basis.family)
        return MomentGoal(
            basis, self.moments[: basis.functions], self.scale[: basis.functions], self.low, self.high
        )


def moment_goal(points: Tensor, multiplicities: Tensor, degree: int) -> MomentGoal:
    """Return the moments of a cloud up to a degree and the box for its nodes, on the host; one pass."""
    basis = fit_basis(points, degree)
    counts = multiplicities.double()
    moments, scale = (points.new_zeros(basis.functions, dtype=torch.float64) for _ in range(2))
    for part in torch.split(torch.arange(len(points), device=points.device), _FEATURE_CHUNK):
        values = basis.columns(points[part])
        moments += values @ counts[part]
        scale += values.abs_() @ counts[part]
    low, high = points.double().amin(0).cpu(), points.double().amax(0).cpu()
    rim = _RIM * (high - low) / 2
    home = type(basis)(basis.centre.cpu(), basis.scale.cpu(), degree, basis.family)
    return MomentGoal(home, moments.cpu(), scale.cpu().clamp_min(1e-300), low - rim, high + rim)


def settle_nodes(points: Tensor, counts: Tensor, goal: MomentGoal, *, rounds: int = _SETTLING_STEPS) -> Nodes:
    """Return the nodes after damped Gauss-Newton steps from a start, met or not.

    Each step is the least change of (dc / c, dz) that would meet the linearised moments; it is
    damped (Levenberg and Marquardt) until the error falls, keeps c positive and z in the box.

    Parameters
    ----------
    points : Tensor, (s, m)
        Start; s (m + 1) unknowns for the N moments of the goal.
    counts : Tensor, (s,)
        Start, c_j > 0.
    goal : MomentGoal
        The moments and the box.
    rounds : int
        The most steps that are tried; each costs O(s m N^2 + N^3).

    Returns
    -------
    Nodes
        The best nodes found; `error` tells how well they meet the moments.
    """
    missing = goal.missing(points, counts)
    size, damping, stalled = float(missing.norm()), 1e-4, 0
    factor: Tensor | None = None
    for _ in range(rounds):
        if float(missing.abs().max()) <= _MET or stalled > 4:
            break
        if factor is None:
            jacobian = _jacobian(points, counts, goal)
            gram = jacobian @ jacobian.T
            level = float(gram.diagonal().mean())
        shifted = gram + (damping * level * min(1.0, size)) * torch.eye(len(gram), dtype=gram.dtype)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if failed:
            damping, stalled = max(damping, 1e-12) * 100, stalled + 1
            continue
        step = jacobian.T @ torch.cholesky_solve(missing[:, None], factor)[:, 0]
        tried = _apply(points, counts, step, goal)
        after = goal.missing(*tried)
        if not float(after.norm()) < size:
            damping, stalled = damping * 30, stalled + 1
            continue
        stalled = stalled + 1 if float(after.norm()) > 0.9 * size else 0
        (points, counts), missing, size = tried, after, float(after.norm())
        damping, factor = damping / 10, None
    return Nodes(points, counts, float(missing.abs().max()))


def _jacobian(points: Tensor, counts: Tensor, goal: MomentGoal) -> Tensor:
    """Return the derivatives of the scaled moments by (log c, z), (N, s (m + 1))."""
    slopes = goal.basis.gradients(points) / goal.basis.scale[:, None, None]
    sides = (goal.high - goal.low)[:, None, None] / 2
    parts = torch.cat([goal.basis.columns(points)[None], slopes * sides]) * counts / goal.scale[:, None]
    return parts.permute(1, 0, 2).reshape(len(goal.moments), -1)


def _apply(points: Tensor, counts: Tensor, step: Tensor, goal: MomentGoal) -> tuple[Tensor, Tensor]:
    """Go along a step, shortened where it would change a multiplicity or a position by too much."""
    change = step.view(points.shape[1] + 1, -1)
    change = change * min(1.0, _STRIDE / float(change.abs().max()))
    moved = points + change[1:].T * (goal.high - goal.low) / 2
    floor = _LEAST * counts.mean()
    return moved.clamp(goal.low, goal.high), (counts * (1 + change[0])).clamp_min(float(floor))
