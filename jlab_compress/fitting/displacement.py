"""How far training will move a layer's outputs, estimated from what they are worth now."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer


def layer_displacement(layer: Layer, inputs: Tensor) -> float:
    """Return the `displacement_of` a layer's outputs at inputs (q, n_in)."""
    return displacement_of(layer.hidden(inputs), layer.outgoing, layer.multiplicities)


def displacement_of(hidden: Tensor, outgoing: Tensor, multiplicities: Tensor) -> float:
    """Estimate the root mean square by which training will move the outputs f = (h c) V.

    Outputs of a trained layer are much larger than sums with random signs would be, those of a fresh one are
    not. With the mean square V^2 of such random sums, V^2 = mean(v^2) mean_x sum_j c_j h_j^2, the estimate is
    10 V^2 / rms(f): ten times the outputs at initialisation, next to nothing for trained ones.

    Parameters
    ----------
    hidden : Tensor (q, n)
        Activations h.
    outgoing : Tensor (n, n_out)
        Weights V.
    multiplicities : Tensor (n,)
        Counts c.

    Examples
    --------
    >>> fresh = displacement_of(torch.ones(1, 4), torch.tensor([[1.0], [-1.0], [1.0], [1.0]]), torch.ones(4))
    >>> trained = displacement_of(torch.ones(1, 4), torch.ones(4, 1), torch.ones(4))
    >>> fresh, trained
    (20.0, 10.0)
    """
    drawn = float(outgoing.square().mean() * (hidden.square() @ multiplicities).mean())
    present = float(((hidden * multiplicities) @ outgoing).square().mean())
    return 10.0 * drawn / math.sqrt(max(present, torch.finfo(hidden.dtype).tiny))


def is_untrained(layer: Layer, inputs: Tensor, displacement: float) -> bool:
    """Tell whether outputs at inputs (q, n_in) are smaller than the displacement that training will bring."""
    return displacement > float(layer(inputs).square().mean().sqrt())
