import pytest
import torch
from torch.nn import functional as F

from jlab_compress.fitting.kernels.actions import kernel_actions
from jlab_compress.fitting.kernels.block_kernel import back_propagate, block_kernel
from jlab_compress.fitting.kernels.row_kernels import squared_error
from jlab_compress.fitting.layer import Layer


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(gated=False, biased=True):
    parts = 2 if gated else 1
    incoming = tuple(normal(6, 3, seed=i) for i in range(parts))
    biases = tuple(normal(6, seed=10 + i) if biased else None for i in range(parts))
    counts = normal(6, seed=20).abs() + 0.5
    act = (lambda gate, up: F.silu(gate) * up) if gated else F.gelu
    return Layer(incoming, biases, normal(6, 2, seed=30), None, counts, act)


def per_copy_gradients(layer, x, r):
    """For every row, the gradient of r . phi_j(x) with respect to one copy of each neuron."""
    tensors = [*layer.incoming, *(b for b in layer.biases if b is not None)]
    leaves = [t.clone().requires_grad_() for t in tensors]
    outgoing = layer.outgoing.clone().requires_grad_()
    weights, biases = (
        leaves[: len(layer.incoming)],
        leaves[len(layer.incoming) :] or [0.0] * len(layer.incoming),
    )
    before = [x @ w.T + b for w, b in zip(weights, biases, strict=True)]
    value = (layer.activation(*before) @ outgoing) @ r
    first, *rest = torch.autograd.grad(value, [outgoing, *leaves])
    return first, torch.cat([g.reshape(len(g), -1) for g in rest], dim=1)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_they_are_products_of_gradients_counted_c_times(gated, biased):
    layer, x, r = layer_of(gated, biased), normal(4, 3, seed=1), normal(4, 2, seed=2)
    found = block_kernel(layer, x, r)
    each = [per_copy_gradients(layer, a, b) for a, b in zip(x, r, strict=True)]
    c = layer.multiplicities[:, None]
    for part, gram in ((0, found.outgoing), (1, found.incoming)):
        by_hand = torch.stack([torch.stack([(c * a[part] * b[part]).sum() for b in each]) for a in each])
        uncounted = torch.stack([torch.stack([(a[part] * b[part]).sum() for b in each]) for a in each])
        assert torch.allclose(gram, by_hand)
        assert not torch.allclose(gram, uncounted, rtol=0.1)
    inputs = x.clone().requires_grad_()
    (sent,) = torch.autograd.grad((layer(inputs) * r).sum(), inputs)
    assert torch.allclose(back_propagate(layer, x, r), sent)


def test_they_hold_all_probes_of_the_kernel_at_once():
    layer, x, r = layer_of(), normal(5, 3, seed=1), normal(5, 2, seed=2)
    found, signs = block_kernel(layer, x, r), normal(5, seed=3)
    actions = kernel_actions(layer, x, (signs[:, None] * r)[None])
    for gram, action in zip((found.outgoing, found.incoming), actions, strict=True):
        assert torch.allclose(gram @ signs, (action[0] * r).sum(dim=1))


def test_errors_are_zero_for_repeated_neurons_and_see_a_wrong_count():
    layer, x, r = layer_of(), normal(5, 3, seed=1), normal(5, 2, seed=2)
    wanted = block_kernel(layer, x, r)
    twice = torch.arange(6).repeat(2)
    split = block_kernel(layer.select(twice, layer.multiplicities[twice] / 2), x, r)
    assert max(map(float, split.errors(wanted))) < 1e-20
    wrong = block_kernel(layer.select(torch.arange(6), 2 * layer.multiplicities), x, r)
    assert list(map(float, wrong.errors(wanted))) == pytest.approx([1.0, 1.0])
    assert float(squared_error(2 * x, x)) == pytest.approx(1.0)


def test_every_row_counts_alike_and_a_row_without_a_kernel_does_not_explode():
    layer = Layer((torch.eye(2),), (None,), torch.eye(2), None, torch.ones(2), torch.relu)
    x, r = torch.tensor([[1.0, 0.0], [100.0, 0.0], [-1.0, -1.0]]), torch.ones(3, 2)
    wanted = block_kernel(layer, x, r)
    other = block_kernel(layer, x * torch.tensor([[2.0], [1.0], [1.0]]), r)
    assert float(wanted.outgoing[2, 2]) == 0
    assert all(map(torch.isfinite, other.errors(wanted)))
    assert float(other.errors(wanted)[0]) > 0.1


def test_the_errors_can_be_lowered_by_their_gradients():
    layer, x, r = layer_of(), normal(5, 3, seed=1), normal(5, 2, seed=2)
    wanted = block_kernel(layer, x, r)
    w = (layer.incoming[0] * 1.3).requires_grad_()
    slim = Layer((w,), layer.biases, layer.outgoing, None, layer.multiplicities, layer.activation)
    before = sum(block_kernel(slim, x, r).errors(wanted))
    (gradient,) = torch.autograd.grad(before, w)
    moved = Layer(((w - 1e-3 * gradient).detach(),), *list(vars(slim).values())[1:])
    assert float(sum(block_kernel(moved, x, r).errors(wanted))) < float(before.detach())
