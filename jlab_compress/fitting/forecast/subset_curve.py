"""How well the best counted subset of each size stands for a layer: its outputs and its tangent kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.actions import respond
from jlab_compress.fitting.layer import Layer

ROWS = 256
PROBES = 16
RIDGE = 1e-8


@dataclass(frozen=True)
class Products:
    """Inner products of neurons as parts of the layer's outputs and of its tangent kernel, each (n, n).

    With multiplicities c, c' G c is the squared norm of the outputs, of K_v or of K_w; so a difference of two
    sets of multiplicities gives the squared error.
    """

    outputs: Tensor
    outgoing: Tensor
    incoming: Tensor

    def errors(self, difference: Tensor, counts: Tensor) -> tuple[float, float]:
        """Return the relative errors of outputs and of the kernel (root mean square of its parts)."""
        squares = [
            max(0.0, float(difference @ g @ difference)) / max(float(counts @ g @ counts), 1e-300)
            for g in (self.outputs, self.outgoing, self.incoming)
        ]
        return float(squares[0] ** 0.5), float(((squares[1] + squares[2]) / 2) ** 0.5)


def inner_products(layer: Layer, inputs: Tensor, *, seed: int = 0) -> Products:
    """Return the neurons' inner products on some rows.

    Neuron j adds h_j h_j' (x) I to K_v and A_j (x) v_j v_j' to K_w, A_j = a_j a_j' * (x x' + 1), with its
    activations h_j and slopes a_j at the rows. The products of the A_j are those of their actions on a few
    white probes.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Some hundred rows serve.
    seed : int
        Of the probes.

    Returns
    -------
    Products
        Cost O(16 q n (n + n_in)) time, O(n^2) memory.
    """
    hidden, slopes = respond(layer, inputs)
    outward, together = layer.outgoing @ layer.outgoing.T, hidden.T @ hidden
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(PROBES, len(inputs), 1, generator=generator, dtype=torch.float64).to(inputs)
    biased = [float(bias is not None) for bias in layer.biases]
    incoming = torch.zeros_like(outward)
    for probe in probes / PROBES**0.5:
        action = torch.zeros_like(hidden)
        for slope, one in zip(slopes, biased, strict=True):
            sent = slope * probe
            action += slope * (inputs @ (inputs.T @ sent) + one * sent.sum(dim=0))
        incoming += action.T @ action
    return Products(together * outward, together.square(), incoming * outward.square())


class Spectrum:
    """The errors of the best counted subsets of all sizes, chosen on some rows and judged on others.

    Neurons join one by one, each the one that lowers the summed relative squared errors of outputs, K_v and
    K_w most, with free multiplicities on all that have joined. What a fit with moved nodes reaches falls
    with the width much as this does.

    Parameters
    ----------
    layer : Layer
        n neurons.
    fit, held : Tensor (q, n_in)
        Rows to choose on and rows to judge on.
    size : int
        The largest subset.
    movement : float
        How far outputs will move in training: an error of outputs counts against f^2 + movement^2.
    """

    def __init__(self, layer: Layer, fit: Tensor, held: Tensor, size: int, *, movement: float) -> None:
        self.counts = layer.multiplicities
        self.judge = inner_products(layer, held, seed=1)
        rows = inner_products(layer, fit)
        tiny = torch.finfo(fit.dtype).tiny
        present = (self.counts @ rows.outputs @ self.counts).clamp_min(tiny)
        moving = len(fit) * layer.outgoing.shape[1] * movement**2
        parts = [rows.outputs / (present + moving)]
        for part in (rows.outgoing, rows.incoming):
            parts.append(part / (self.counts @ part @ self.counts).clamp_min(tiny))
        gram = torch.stack(parts).sum(dim=0)
        self.order, self.factor, self.reached = choose(gram, gram @ self.counts, size)

    def errors(self, widths: Sequence[int]) -> list[tuple[float, float]]:
        """Return the held-out errors of outputs (without the bias) and of the kernel at each width."""
        found = []
        for s in widths:
            order = self.order[:s]
            square = self.factor[:s][:, order]
            solution = torch.linalg.solve_triangular(square, self.reached[:s, None], upper=True)[:, 0]
            difference = -self.counts
            difference = difference.index_add(0, order, solution)
            found.append(self.judge.errors(difference, self.counts))
        return found


def choose(gram: Tensor, moments: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose columns greedily by their Gram matrix: orthogonal least squares (Chen, Cowan, Grant 1991).

    Parameters
    ----------
    gram : Tensor (n, n)
        Products of the columns.
    moments : Tensor (n,)
        Products with the target.
    size : int
        Number s of columns.

    Returns
    -------
    tuple of Tensor
        Indices (s,) in the order of choice, the rows F (s, n) of the Gram matrix's Cholesky factor in that
        order, and the target's coordinates y (s,) in it: the first k columns have the solution F_k^-1 y_k.

    Examples
    --------
    >>> order, factor, reached = choose(torch.eye(3), torch.tensor([2.0, 0.0, 5.0]), 2)
    >>> order.tolist(), [round(x, 3) for x in reached.tolist()]
    ([2, 0], [5.0, 2.0])
    """
    damping = RIDGE * max(float(gram.diagonal().mean()), torch.finfo(gram.dtype).tiny)
    remaining = gram.diagonal() + damping
    left, free = moments.clone(), torch.ones(len(gram), dtype=torch.bool, device=gram.device)
    factor, reached = gram.new_zeros(size, len(gram)), gram.new_zeros(size)
    order = torch.empty(size, dtype=torch.long, device=gram.device)
    for step in range(size):
        best = torch.where(free, left.square() / remaining, -1.0).argmax()
        root = remaining[best].sqrt()
        row = (gram[best] - factor[:step, best] @ factor[:step]) / root
        row[best] = root
        reached[step] = left[best] / root
        left = left - row * reached[step]
        remaining = (remaining - row.square()).clamp_min(damping)
        factor[step], order[step], free[best] = row, best, False
    return order, factor, reached
