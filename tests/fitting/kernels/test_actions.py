import pytest
import torch

from jlab_compress.fitting.kernels.actions import kernel_actions
from jlab_compress.fitting.layer import Layer
from tests.fitting.problems import dense, draw, gated


@pytest.mark.parametrize(
    "layer", [dense(7, activation=torch.tanh), dense(7), gated(7)], ids=["tanh", "relu", "gated"]
)
def test_actions_agree_with_the_jacobian(layer):
    x, residual = draw(6, 5, seed=4), draw(2, 6, 3, seed=5)
    layer = layer.select(torch.arange(7), torch.linspace(0.5, 2, 7).double())
    names = [*layer.incoming, *(b for b in layer.biases if b is not None)]

    def copies_move(outgoing, *moved):
        """The function of parameters that every copy shares."""
        tensors = iter(moved)
        incoming = tuple(next(tensors) for _ in layer.incoming)
        biases = tuple(None if b is None else next(tensors) for b in layer.biases)
        return Layer(incoming, biases, outgoing, None, layer.multiplicities, layer.activation)(x)

    jacobians = torch.autograd.functional.jacobian(copies_move, (layer.outgoing, *names))
    c = layer.multiplicities
    parts = []
    for j in jacobians:
        j = j.reshape(6 * 3, 7, -1)
        parts.append(torch.einsum("anp,bnp,n->ab", j, j, 1 / c))
    for probe, outgoing_part, incoming_part in zip(
        residual, *kernel_actions(layer, x, residual), strict=True
    ):
        assert torch.allclose((parts[0] @ probe.flatten()).reshape(6, 3), outgoing_part, rtol=1e-9)
        assert torch.allclose((sum(parts[1:]) @ probe.flatten()).reshape(6, 3), incoming_part, rtol=1e-9)
