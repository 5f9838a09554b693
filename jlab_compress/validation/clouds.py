"""How far two weighted clouds of neurons are apart, as optimal transport measures it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ot
import torch
from torch import nn

from jlab_compress.core.cloud import Cloud
from jlab_compress.network.optimizers import joint_points, neurons_of
from jlab_compress.network.plan import BlockPlan
from jlab_compress.network.slim import WeightedLayer

MOST_COSTS = 4_000_000  # exact transport takes about a second there, and grows with the square


@dataclass(frozen=True)
class CloudDistance:
    """The distance between two neuron clouds, relative to the spread of the first.

    Parameters
    ----------
    exact : float or None
        2-Wasserstein distance; None where the clouds are too large for it.
    sinkhorn : float
        The same with entropic smoothing, so at least as large; what large clouds are compared by.
    """

    exact: float | None
    sinkhorn: float


def neuron_clouds(original: nn.Module, slim: nn.Module, block: BlockPlan) -> tuple[Cloud, Cloud]:
    """Return a block's neurons in both models as points (incoming row, bias, outgoing column).

    Both parts of a point are divided by the rms of the original's entries, so that they count alike.

    Parameters
    ----------
    original, slim : nn.Module
        Before or after training.
    block : BlockPlan
        From the slim model's plan.
    """
    wide, narrow = neurons_of(original, block), neurons_of(slim, block)
    reader = slim.get_submodule(block.outgoing)
    counts = reader.input_multiplicities if isinstance(reader, WeightedLayer) else None
    if counts is None:
        counts = torch.tensor(block.multiplicities or [1.0] * block.width_after)
    points = joint_points(wide, wide)
    ones = torch.ones(len(points)).to(points)
    return Cloud(points, ones), Cloud(joint_points(narrow, wide), counts.detach().to(points))


def cloud_distance(first: Cloud, second: Cloud, *, smoothing: float = 0.05) -> CloudDistance:
    """Return the 2-Wasserstein distance of two weighted clouds over the first one's spread.

    Multiplicities are scaled to one total; the spread is the rms distance of the first cloud's points
    from their mean, so 1 is the distance to a cloud shrunk into its centre.

    Parameters
    ----------
    first, second : Cloud
        n and s points of one dimension m.
    smoothing : float
        Entropic regularisation, relative to the mean cost.

    Returns
    -------
    CloudDistance
        Exact, and by Sinkhorn's iteration.

    Raises
    ------
    ValueError
        If the dimensions differ.

    Notes
    -----
    Cost: O(n s m) for the costs; exact transport about O((n + s)^3), done up to n s = 4e6. Both through
    POT (Flamary et al., 2021).

    Examples
    --------
    >>> points = torch.tensor([[0.0], [2.0]]).double()
    >>> cloud = Cloud(points, torch.ones(2).double())
    >>> cloud_distance(cloud, Cloud(points + 3, torch.ones(2).double())).exact
    3.0
    """
    if first.points.shape[1] != second.points.shape[1]:
        raise ValueError(
            f"second: expected points of dimension {first.points.shape[1]} like the first cloud's, "
            f"got {second.points.shape[1]}"
        )
    a, b = (_shares(cloud) for cloud in (first, second))
    x, y = (cloud.points.detach().double().cpu().numpy() for cloud in (first, second))
    costs = ot.dist(x, y)
    spread = float(np.sqrt(a @ ((x - a @ x) ** 2).sum(1))) or 1.0
    exact = float(np.sqrt(ot.emd2(a, b, costs, numItermax=1_000_000))) if costs.size <= MOST_COSTS else None
    mean = float(costs.mean()) or 1.0
    plan = ot.sinkhorn(
        a, b, costs / mean, smoothing, method="sinkhorn_log", numItermax=300, stopThr=1e-6, warn=False
    )
    smoothed = float(np.sqrt((plan * costs).sum()))
    return CloudDistance(None if exact is None else exact / spread, smoothed / spread)


def _shares(cloud: Cloud) -> np.ndarray:
    counts = cloud.multiplicities.detach().double().cpu().numpy()
    return np.asarray(counts / counts.sum())
