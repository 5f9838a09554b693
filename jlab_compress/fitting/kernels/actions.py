"""The tangent kernel of a layer, applied to residuals through factors, never as a q x q matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.layer import Layer

HiddenAndSlopes = tuple[Tensor, tuple[Tensor, ...]]
NeuronDirections = tuple[Tensor, tuple[tuple[Tensor, Tensor | None], ...]]
DAMPING = 0.03


def hidden_and_slopes(layer: Layer, inputs: Tensor) -> HiddenAndSlopes:
    """Return the hidden activations and their slopes with respect to each pre-activation.

    The slope is the exact derivative of `layer.activation`; where the layer's tensors require
    gradients it can be differentiated again (a ReLU's slope is then constant).

    Parameters
    ----------
    layer : Layer
        n neurons, one or two incoming matrices.
    inputs : Tensor (q, n_in)
        Rows x.

    Returns
    -------
    tuple
        h (q, n) and one slope tensor (q, n) per incoming matrix.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [-1.0]])
    >>> hidden_and_slopes(Layer((w,), (None,), w, None, torch.ones(2), torch.relu), torch.tensor([[2.0]]))
    (tensor([[2., 0.]]), (tensor([[1., 0.]]),))
    """
    tracked = any(w.requires_grad for w in layer.incoming)
    with torch.enable_grad():
        before = [
            inputs @ w.T if b is None else torch.addmm(b, inputs, w.T)
            for w, b in zip(layer.incoming, layer.biases, strict=True)
        ]
        if not tracked:
            before = [z.detach().requires_grad_() for z in before]
        hidden = layer.activation(*before)
        slopes = torch.autograd.grad(hidden.sum(), before, create_graph=tracked)
    return (hidden, slopes) if tracked else (hidden.detach(), slopes)


def neuron_gradients(
    layer: Layer, inputs: Tensor, residuals: Tensor, forward: HiddenAndSlopes
) -> NeuronDirections:
    """Return every neuron's per-copy gradient of sum_x R(x) . f(x), for P probes R at once.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Rows x.
    residuals : Tensor (P, q, n_out)
        Probes R.
    forward : tuple
        What `hidden_and_slopes` returned for these rows.

    Returns
    -------
    tuple
        The gradients of the outgoing rows (P, n, n_out), and for each incoming matrix those of its
        rows (P, n, n_in) and of its biases (P, n) or None. Cost O(P q n (n_in + n_out)).
    """
    hidden, slopes = forward
    through = residuals @ layer.outgoing.T
    incoming = []
    for slope, bias in zip(slopes, layer.biases, strict=True):
        pulled = through * slope
        incoming.append((pulled.transpose(1, 2) @ inputs, None if bias is None else pulled.sum(dim=1)))
    return hidden.T @ residuals, tuple(incoming)


def first_order_change(
    layer: Layer, inputs: Tensor, directions: NeuronDirections, forward: HiddenAndSlopes
) -> tuple[Tensor, Tensor]:
    """Return how the function moves, to first order, when every copy of a neuron moves in a direction.

    Parameters are those of `neuron_gradients`, with the directions in place of the residuals.

    Returns
    -------
    tuple of Tensor
        Two parts (P, q, n_out): of the outgoing and of the incoming parameters.
    """
    hidden, slopes = forward
    outgoing, incoming = directions
    change = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
    for slope, (rows, biases) in zip(slopes, incoming, strict=True):
        moved = inputs @ rows.transpose(1, 2)
        change = change + (moved if biases is None else moved + biases[:, None]) * slope
    return (hidden * layer.multiplicities) @ outgoing, (change * layer.multiplicities) @ layer.outgoing


def kernel_actions(layer: Layer, inputs: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the tangent kernel of `layer` on `inputs` to residuals.

    Under gradient flow with per-copy parameters the function moves by -K r, where
    K = sum_j c_j grad phi_j(x) . grad phi_j(x') and r is the residual of the loss.

    Parameters
    ----------
    layer : Layer
        n neurons; the kernel of the output bias is not counted, it is the same in every fit.
    inputs : Tensor (q, n_in)
        Rows x.
    residuals : Tensor (P, q, n_out)
        P probes R.

    Returns
    -------
    tuple of Tensor
        K_v R and K_w R (P, q, n_out), the parts of the outgoing and of the incoming parameters; never
        a q x q matrix.

    Examples
    --------
    >>> layer = Layer((torch.ones(1, 1),), (None,), torch.ones(1, 1), None, 2 * torch.ones(1), torch.relu)
    >>> kernel_actions(layer, torch.tensor([[3.0]]), torch.ones(1, 1, 1))
    (tensor([[[18.]]]), tensor([[[18.]]]))
    """
    forward = hidden_and_slopes(layer, inputs)
    return first_order_change(layer, inputs, neuron_gradients(layer, inputs, residuals, forward), forward)


def kernel_error(slim: Layer, layer: Layer, inputs: Tensor, *, seed: int = 0, n_probes: int = 4) -> float:
    """Return the relative error of the tangent kernel's action on fresh white probes.

    Parameters
    ----------
    slim, layer : Layer
        The slim layer and the wide one.
    inputs : Tensor (q, n_in)
        Held-out rows.
    seed : int
        Seed of a private generator.
    n_probes : int
        Number P of probes.

    Returns
    -------
    float
        Root mean square of the relative errors of the two parts of the kernel.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    x = inputs.double()
    residuals = torch.randn(n_probes, len(x), layer.outgoing.shape[1], generator=generator, dtype=x.dtype)
    mine = kernel_actions(slim.to(x.dtype), x, residuals.to(x))
    theirs = kernel_actions(layer.to(x.dtype), x, residuals.to(x))
    errors = [relative_error(a, b) for a, b in zip(mine, theirs, strict=True)]
    return float((sum(e**2 for e in errors) / len(errors)) ** 0.5)


def adaptive_directions(
    gradients: NeuronDirections, layer: Layer, inputs: Tensor, forward: HiddenAndSlopes
) -> NeuronDirections:
    """Divide every entry of the gradients by its usual size, as Adam does.

    The usual size is the root mean square over white residuals: that of h_j for the outgoing row of
    neuron j, and of |v_j| act'_j x_i for its incoming weight i; a little of the tensor's mean is added.
    Parameters are those of `first_order_change`.
    """
    (hidden, slopes), (outgoing, incoming) = forward, gradients
    squared_norms = layer.outgoing.square().sum(dim=1)
    parts = []
    for slope, (rows, biases) in zip(slopes, incoming, strict=True):
        squares = slope.square()
        sizes = squares.T @ inputs.square() / len(inputs) * squared_norms[:, None]
        shifts = None if biases is None else _divided(biases, squares.mean(dim=0) * squared_norms)
        parts.append((_divided(rows, sizes), shifts))
    return _divided(outgoing, hidden.square().mean(dim=0)[:, None]), tuple(parts)


def _divided(gradient: Tensor, squares: Tensor) -> Tensor:
    """Return the gradient over the root of its expected squares, damped by a share of their mean."""
    tiny = torch.finfo(squares.dtype).tiny
    return gradient * (squares + DAMPING * squares.mean().detach()).clamp_min(tiny).rsqrt()
