"""How far two weighted clouds of neurons are apart, as optimal transport measures it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jlab_compress.core.cloud import Cloud
from jlab_compress.extras import require
from jlab_compress.slim.conversion import multiplicities_of
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.surroundings import random_states_kept
from jlab_compress.training.matching import match_neurons

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


def neuron_clouds(original: nn.Module, slim: nn.Module) -> dict[str, tuple[Cloud, Cloud]]:
    """Return each block's neurons in both models as clouds of points, all parameters of a neuron together.

    Each parameter tensor is divided by the rms of its entries in the original, so that all count alike; where
    that is next to none, such as for a bias of zeros, by the rms in the slim model.

    Parameters
    ----------
    original, slim : nn.Module
        Before or after training.

    Returns
    -------
    dict of str to (Cloud, Cloud)
        Per block name.
    """
    found = {}
    for match in match_neurons(original, slim):
        counts = _multiplicities(slim, match.block)
        ones = torch.ones(len(match.wide)).to(match.wide)
        found[match.block.name] = Cloud(match.wide, ones), Cloud(match.narrow, counts.to(match.narrow))
    return found


def _multiplicities(slim: nn.Module, block: BlockPlan) -> Tensor:
    if block.multiplicities is not None:
        return torch.tensor(block.multiplicities)
    counts = multiplicities_of(slim, block)
    return torch.ones(block.width_after) if counts is None else counts.cpu()


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
    ImportError
        If POT is not installed.

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
    with random_states_kept():  # its import draws from Python's random numbers
        ot = require("ot", "validation")
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
