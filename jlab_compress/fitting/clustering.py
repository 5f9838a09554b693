"""k-means of neurons in parameter space, and the layer of the merged centres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from jlab_compress.fitting.layer import Layer

ITERATIONS = 20


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

    k-means++ (Arthur, Vassilvitskii 2007) with Lloyd's steps on `neuron_rows`.

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
        Labels 0..size-1. Cost O(n size m) per step.
    """
    rows = neuron_rows(layer).double().cpu().numpy()
    rng = np.random.default_rng(seed)
    centres, labels = kmeans2(rows, size, iter=ITERATIONS, minit="++", rng=rng, missing="warn")
    distance = np.square(rows - centres[labels]).sum(axis=1)
    for empty in np.setdiff1d(np.arange(size), labels):
        shared = np.bincount(labels, minlength=size)[labels] > 1
        farthest = int(np.where(shared, distance, -1.0).argmax())
        labels[farthest], distance[farthest] = empty, 0.0
    return torch.from_numpy(labels.astype(np.int64)).to(layer.outgoing.device)


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
