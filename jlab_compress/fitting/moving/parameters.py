"""The free parameters of a slim layer."""

from __future__ import annotations

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
