"""How well the best weighted subset of each size stands for a layer: its outputs and its tangent kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.neuron_products import NeuronProducts, neuron_products
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.solvers.gram import HeldGram
from jlab_compress.fitting.solvers.pursuit import Pursuit, pursue


@dataclass(frozen=True)
class SubsetCurve:
    """The best weighted subsets of all sizes, chosen on some rows and measured on others.

    Parameters
    ----------
    counts : Tensor (n,)
        Multiplicities of the layer.
    chosen : Pursuit
        Neurons in the order of choice, with the solution for every number of them.
    held : NeuronProducts
        On the rows that errors are measured on.
    """

    counts: Tensor
    chosen: Pursuit
    held: NeuronProducts

    def errors(self, widths: Sequence[int]) -> list[tuple[float, float]]:
        """Return the held-out errors of outputs (without the bias) and of the kernel at each width."""
        found = []
        for s in widths:
            order = self.chosen.order[:s]
            square = self.chosen.factor[:s][:, order]
            solution = torch.linalg.solve_triangular(square, self.chosen.reached[:s], upper=True)[:, 0]
            difference = -self.counts
            difference = difference.index_add(0, order, solution)
            found.append(self.held.errors(difference, self.counts))
        return found


def subset_curve(layer: Layer, fit: Tensor, held: Tensor, size: int, *, displacement: float) -> SubsetCurve:
    """Choose neurons one by one for outputs and tangent kernel together.

    Each is the one that lowers the summed relative squared errors of outputs, K_v and K_w most, with free
    multiplicities on all that were chosen. What a fit with moved nodes reaches falls with the width much as
    the errors of these subsets do.

    Parameters
    ----------
    layer : Layer
        n neurons.
    fit, held : Tensor (q, n_in)
        Rows to choose on and rows to measure errors on.
    size : int
        The largest subset.
    displacement : float
        How far outputs will move in training: an error of outputs counts against f^2 + displacement^2.
    """
    counts, tiny = layer.multiplicities, torch.finfo(fit.dtype).tiny
    rows = neuron_products(layer, fit)
    present = (counts @ rows.outputs @ counts).clamp_min(tiny)
    moving = len(fit) * layer.outgoing.shape[1] * displacement**2
    parts = [rows.outputs / (present + moving)]
    for part in (rows.outgoing, rows.incoming):
        parts.append(part / (counts @ part @ counts).clamp_min(tiny))
    gram = torch.stack(parts).sum(dim=0)
    chosen = pursue(HeldGram(gram), (gram @ counts)[:, None], size)
    return SubsetCurve(counts, chosen, neuron_products(layer, held, seed=1))
