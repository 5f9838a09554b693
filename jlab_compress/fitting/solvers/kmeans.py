"""k-means of neurons in parameter space, and the layer of the merged centres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from jlab_compress.core.cells import kmeans
from jlab_compress.fitting.layer import Layer

KMEANS_ROUNDS = 20


def neuron_rows(layer: Layer) -> Tensor:
    """Return one row per neuron, (n, m), the incoming and the outgoing part each at unit rms.

    Examples
    --------
    >>> w = torch.tensor([[3.0], [-3.0]])
    >>> neuron_rows(Layer((w,), (None,), 5 * w, None, torch.ones(2), torch.tanh))
    tensor([[ 1.,  1.],
            [-1., -1.]])
    """
    tiny = torch.finfo(layer.outgoing.dtype).tiny
    parts = [
        w if b is None else torch.cat([w, b[:, None]], dim=1)
        for w, b in zip(layer.incoming, layer.biases, strict=True)
    ]
    return torch.cat([p / p.square().mean().sqrt().clamp_min(tiny) for p in [*parts, layer.outgoing]], dim=1)


def cluster_neurons(layer: Layer, size: int, seed: int = 0) -> Tensor:
    """Assign each of n neurons to one of `size` clusters, none of them empty.

    k-means on `neuron_rows` from centres drawn by k-means++ (Arthur, Vassilvitskii 2007).

    Parameters
    ----------
    layer : Layer
        n neurons.
    size : int
        Number of clusters, at most n.
    seed : int
        Seed of a private generator.

    Returns
    -------
    Tensor (n,)
        Labels 0..size-1. Cost O(n s m) per round.
    """
    rows = neuron_rows(layer).double().cpu()
    first = spread_rows(rows.numpy(), size, np.random.default_rng(seed))
    centres, labels = kmeans(rows, rows[torch.from_numpy(first)], rounds=KMEANS_ROUNDS)
    distance = (rows - centres[labels]).square().sum(dim=1)
    for empty in sorted(set(range(size)).difference(labels.tolist())):
        shared = labels.bincount(minlength=size)[labels] > 1
        farthest = torch.where(shared, distance, -1.0).argmax()
        labels[farthest], distance[farthest] = empty, 0.0
    return labels.to(layer.outgoing.device)


def spread_rows(rows: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `size` of n rows, each by its squared distance to the nearest one drawn before (k-means++).

    The same draws as `minit="++"` of scipy's `kmeans2`, which measures all distances again for each row
    drawn and so costs s times as much.

    Parameters
    ----------
    rows : ndarray (n, m)
        Points.
    size : int
        Rows s to draw; a row comes twice only where fewer than s are distinct.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray (s,)
        Indices in the order of the draws. Cost O(n s m).

    Examples
    --------
    >>> points = np.array([[0.0], [0.0], [9.0]])
    >>> sorted(points[spread_rows(points, 2, np.random.default_rng(0)), 0].tolist())
    [0.0, 9.0]
    """
    drawn = np.empty(size, dtype=np.int64)
    nearest = np.full(len(rows), np.inf)
    for i in range(size):
        if i == 0:
            drawn[i] = rng.integers(len(rows))
        else:
            total = nearest.sum()
            drawn[i] = np.searchsorted(np.cumsum(nearest / total), rng.uniform()) if total > 0 else 0
        nearest = np.minimum(nearest, cdist(rows[drawn[i], None], rows, "sqeuclidean")[0])
    return drawn


def merge_clusters(layer: Layer, labels: Tensor) -> Layer:
    """Merge each cluster into its mean neuron, counted as often as the cluster's neurons together.

    Parameters
    ----------
    layer : Layer
        n neurons.
    labels : Tensor (n,)
        Cluster of each neuron, 0..s-1, none empty.

    Returns
    -------
    Layer
        s neurons whose multiplicities sum to those of `layer`. Exact where the activation is
        linear over each cluster and the outgoing rows agree.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [3.0]])
    >>> layer = Layer((w,), (None,), w, None, torch.ones(2), torch.relu)
    >>> merge_clusters(layer, torch.tensor([0, 0])).incoming
    (tensor([[2.]]),)
    """
    c = layer.multiplicities
    counts = torch.zeros(int(labels.max()) + 1, dtype=c.dtype, device=c.device).index_add(0, labels, c)

    def mean(values: Tensor) -> Tensor:
        flat = values.reshape(len(values), -1)
        sums = flat.new_zeros(len(counts), flat.shape[1]).index_add(0, labels, flat * c[:, None])
        return (sums / counts[:, None]).reshape(-1, *values.shape[1:])

    return replace(
        layer,
        incoming=tuple(mean(w) for w in layer.incoming),
        biases=tuple(None if b is None else mean(b) for b in layer.biases),
        outgoing=mean(layer.outgoing),
        multiplicities=counts,
    )
