"""The tangent kernel of a layer, applied to residuals through factors, never as a q x q matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer


def respond(layer: Layer, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
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
    >>> respond(Layer((w,), (None,), w, None, torch.ones(2), torch.relu), torch.tensor([[2.0]]))
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


def kernel_actions(layer: Layer, inputs: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Apply the tangent kernel of `layer` on `inputs` to residuals.

    With per-copy parameters, the function moves under gradient flow by -K r, where
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
        f without its bias (q, n_out), K_v R and K_w R (P, q, n_out): the parts of the outgoing and
        of the incoming parameters. Cost O(P q n (n_in + n_out)).

    Examples
    --------
    >>> layer = Layer((torch.ones(1, 1),), (None,), torch.ones(1, 1), None, 2 * torch.ones(1), torch.relu)
    >>> kernel_actions(layer, torch.tensor([[3.0]]), torch.ones(1, 1, 1))
    (tensor([[6.]]), tensor([[[18.]]]), tensor([[[18.]]]))
    """
    hidden, slopes = respond(layer, inputs)
    counted = hidden * layer.multiplicities
    through = residuals @ layer.outgoing.T
    change = torch.zeros_like(through)
    for slope, bias in zip(slopes, layer.biases, strict=True):
        pulled = through * slope
        moved = inputs @ (pulled.transpose(1, 2) @ inputs).transpose(1, 2)
        if bias is not None:
            moved = moved + pulled.sum(dim=1, keepdim=True)
        change = change + moved * slope
    outgoing_part = counted @ (hidden.T @ residuals)
    incoming_part = (change * layer.multiplicities) @ layer.outgoing
    return counted @ layer.outgoing, outgoing_part, incoming_part
