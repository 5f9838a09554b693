"""The free parameters of a slim layer, and the rate at which Adam moves them."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from jlab_compress.fitting.layer import Layer


class FreeParameters:
    """What an optimizer moves of a slim layer: every tensor in units of its rms, and log c.

    Parameters
    ----------
    start : Layer
        Where the neurons begin.
    """

    def __init__(self, start: Layer) -> None:
        tiny = torch.finfo(start.outgoing.dtype).tiny
        tensors = [*start.incoming, *(b for b in start.biases if b is not None), start.outgoing]
        self._start = start
        self._scales = [t.square().mean().sqrt().clamp_min(tiny) for t in tensors]
        free = [*(t / s for t, s in zip(tensors, self._scales, strict=True)), start.multiplicities.log()]
        *self.weights, self.log_counts = [t.detach().clone().requires_grad_() for t in free]

    def layer(self, *, detached: bool = False) -> Layer:
        """Return the layer at the present parameters, cut from the graph if `detached`."""
        free = [*self.weights, self.log_counts]
        free = [p.detach() for p in free] if detached else free
        tensors = iter([p * s for p, s in zip(free[:-1], self._scales, strict=True)])
        incoming = tuple(next(tensors) for _ in self._start.incoming)
        biases = tuple(None if b is None else next(tensors) for b in self._start.biases)
        return replace(
            self._start,
            incoming=incoming,
            biases=biases,
            outgoing=next(tensors),
            multiplicities=free[-1].exp(),
        )


def rate_share(step: int, steps: int, *, warm_up: float = 0.0) -> float:
    """Return the share of the full rate at a step, counted from 0: linearly up, then down as a cosine.

    Parameters
    ----------
    step, steps : int
        Steps done, and in all.
    warm_up : float
        Share of the steps in which the rate rises.

    Examples
    --------
    >>> [round(rate_share(step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    >>> rate_share(0, 100, warm_up=0.1)
    0.1
    """
    risen = min(1.0, (step + 1) / (warm_up * steps)) if warm_up else 1.0
    return risen * 0.5 * (1 + math.cos(math.pi * step / steps))
