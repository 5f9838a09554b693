"""Inner products of a layer's neurons as parts of its outputs and of its tangent kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.actions import hidden_and_slopes
from jlab_compress.fitting.layer import Layer

NEURON_PROBES = 16


@dataclass(frozen=True)
class NeuronProducts:
    """Inner products of n neurons as parts of the layer's outputs and of its tangent kernel, each (n, n).

    With multiplicities c, c' G c is the squared norm of the outputs, of K_v or of K_w; so a difference of two
    sets of multiplicities gives the squared error.

    Parameters
    ----------
    outputs, outgoing, incoming : Tensor (n, n)
        Of the outputs, and of the kernel's parts K_v of the outgoing and K_w of the incoming parameters.
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


def neuron_products(
    layer: Layer, inputs: Tensor, *, seed: int = 0, n_probes: int = NEURON_PROBES
) -> NeuronProducts:
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
    n_probes : int
        Number P of probes; the products of K_w are exact for infinitely many.

    Returns
    -------
    NeuronProducts
        Cost O(P q n (n + n_in)) time, O(n^2) memory.
    """
    hidden, slopes = hidden_and_slopes(layer, inputs)
    between_outgoing, between_hidden = layer.outgoing @ layer.outgoing.T, hidden.T @ hidden
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(n_probes, len(inputs), 1, generator=generator, dtype=torch.float64).to(inputs)
    biased = [float(bias is not None) for bias in layer.biases]
    incoming = torch.zeros_like(between_outgoing)
    for probe in probes / n_probes**0.5:
        action = torch.zeros_like(hidden)
        for slope, one in zip(slopes, biased, strict=True):
            sent = slope * probe
            action += slope * (inputs @ (inputs.T @ sent) + one * sent.sum(dim=0))
        incoming += action.T @ action
    outputs = between_hidden * between_outgoing
    return NeuronProducts(outputs, between_hidden.square(), incoming * between_outgoing.square())
