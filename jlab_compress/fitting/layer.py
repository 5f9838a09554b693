"""A wide layer as a cloud of weighted neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Activation = Callable[..., Tensor]


@dataclass(frozen=True)
class Layer:
    """The function f(x) = sum_j c_j act(w_j . x + b_j, ...) v_j + bias of n weighted neurons.

    An MLP block has one incoming matrix; a gated one has two (gate and up), and its activation
    takes both, for example ``silu(gate) * up``.

    Parameters
    ----------
    incoming : tuple of Tensor, each (n, n_in)
        Row j is w_j.
    biases : tuple of (Tensor (n,) or None)
        One entry per incoming matrix.
    outgoing : Tensor, (n, n_out)
        Row j is v_j.
    outgoing_bias : Tensor (n_out,) or None
        Added once; no neuron owns it.
    multiplicities : Tensor, (n,)
        c_j > 0; the original layer has ones.
    activation : callable
        Pointwise over neurons: one (q, n) tensor per incoming matrix to (q, n).
    biased : bool
        Whether the outputs have a bias that a refit may set; a layer without one stays without.

    Raises
    ------
    ValueError
        If two tensors disagree about n.
    """

    incoming: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    outgoing: Tensor
    outgoing_bias: Tensor | None
    multiplicities: Tensor
    activation: Activation
    biased: bool = True

    def __post_init__(self) -> None:
        rows = [w.shape[0] for w in self.incoming] + [b.shape[0] for b in self.biases if b is not None]
        rows += [self.outgoing.shape[0], self.multiplicities.shape[0]]
        if len(set(rows)) != 1:
            raise ValueError(
                "Layer: incoming, biases, outgoing and multiplicities must agree on the number of neurons; "
                f"got {rows}"
            )

    @property
    def width(self) -> int:
        """The number of neurons n."""
        return self.outgoing.shape[0]

    @property
    def homogeneous(self) -> bool:
        """Whether act(t z) = t act(z) for t > 0, so that the layer can be `regauged`."""
        return len(self.incoming) == 1 and is_homogeneous(self.activation)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the hidden activations (q, n) for inputs (q, n_in), without multiplicities."""
        parts = [
            inputs @ w.T if b is None else torch.addmm(b, inputs, w.T)
            for w, b in zip(self.incoming, self.biases, strict=True)
        ]
        return self.activation(*parts)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return f(x), (q, n_out), for inputs (q, n_in)."""
        outputs = (self.hidden(inputs) * self.multiplicities) @ self.outgoing
        return outputs if self.outgoing_bias is None else outputs + self.outgoing_bias

    def to(self, dtype: torch.dtype) -> Layer:
        """Return the layer with every tensor in `dtype`; the activation stays."""
        return replace(
            self,
            incoming=tuple(w.to(dtype) for w in self.incoming),
            biases=tuple(None if b is None else b.to(dtype) for b in self.biases),
            outgoing=self.outgoing.to(dtype),
            outgoing_bias=None if self.outgoing_bias is None else self.outgoing_bias.to(dtype),
            multiplicities=self.multiplicities.to(dtype),
        )

    def with_outgoing(self, outgoing: Tensor, outgoing_bias: Tensor | None) -> Layer:
        """Return the layer with other outgoing rows (n, n_out) and output bias, each neuron counted once.

        A layer that is not `biased` stays as it is in that; its bias is left out.
        """
        bias = outgoing_bias if self.biased else None
        ones = torch.ones_like(self.multiplicities)
        return replace(self, outgoing=outgoing, outgoing_bias=bias, multiplicities=ones)

    def select(self, indices: Tensor, multiplicities: Tensor | None = None) -> Layer:
        """Return the layer of the neurons at `indices` (s,), with new multiplicities (s,) if given."""
        return replace(
            self,
            incoming=tuple(w[indices] for w in self.incoming),
            biases=tuple(None if b is None else b[indices] for b in self.biases),
            outgoing=self.outgoing[indices],
            multiplicities=self.multiplicities[indices] if multiplicities is None else multiplicities,
        )

    def regauged(self, multiplicities: Tensor) -> Layer:
        """Return the layer with other multiplicities (n,), equal in function and under gradient descent.

        Holds for positively homogeneous activations such as ReLU: (w, b, v, c) and (w/t, b/t, v/t, c t^2)
        are the same neuron.
        """
        root = (self.multiplicities / multiplicities).sqrt()
        return replace(
            self,
            incoming=tuple(w * root[:, None] for w in self.incoming),
            biases=tuple(None if b is None else b * root for b in self.biases),
            outgoing=self.outgoing * root[:, None],
            multiplicities=multiplicities,
        )

    def with_equal_multiplicities(self) -> Layer:
        """Return the layer `regauged` to one multiplicity for all; same function, same gradient descent."""
        c = self.multiplicities
        return self.regauged(torch.full_like(c, float(c.mean())))


def is_homogeneous(activation: Activation) -> bool:
    """Tell whether act(t z) = t act(z) for all t > 0, as for ReLU.

    Then multiplicities can be moved into the weights and back: see `Layer.regauged`. Judged by values of both
    signs from 1e-9 to 1e9, so that a bend or a bound anywhere in between is seen.

    Examples
    --------
    >>> is_homogeneous(torch.relu), is_homogeneous(torch.tanh), is_homogeneous(torch.nn.Hardtanh(-10, 10))
    (True, False, False)
    """
    sizes = torch.logspace(-9, 9, 181, dtype=torch.float64)
    z = torch.cat([-sizes, torch.zeros(1, dtype=torch.float64), sizes])[:, None]
    return all(
        torch.allclose(activation(t * z), t * activation(z), rtol=1e-9, atol=0.0)
        for t in (1e-3, 0.3, 2.5, 40.0, 1e4)
    )
