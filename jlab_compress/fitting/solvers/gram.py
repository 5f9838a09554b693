"""Inner products of n objects' features (Gram matrices), computed a few columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Gram(Protocol):
    """A Gram matrix G (n, n) that need not be held."""

    def columns(self, indices: Tensor) -> Tensor:
        """Return the columns (n, k) at indices (k,)."""

    def diagonal(self) -> Tensor:
        """Return every object's product with itself, (n,)."""


@dataclass(frozen=True)
class HeldGram:
    """A Gram matrix that is held.

    Parameters
    ----------
    products : Tensor (n, n)
        Symmetric, positive semidefinite.
    """

    products: Tensor

    def columns(self, indices: Tensor) -> Tensor:
        """Return the columns (n, k) at indices (k,); read as rows, which lie together in memory."""
        return self.products[indices].T

    def diagonal(self) -> Tensor:
        """Return every object's product with itself, (n,)."""
        return self.products.diagonal()


@dataclass(frozen=True)
class FeatureGram:
    """The inner products of columns of features, computed when they are asked for.

    Parameters
    ----------
    features : Tensor (q, n)
        One column per object.
    """

    features: Tensor

    def columns(self, indices: Tensor) -> Tensor:
        """Return the columns (n, k) at indices (k,); cost O(q n k)."""
        return self.features.T @ self.features[:, indices]

    def diagonal(self) -> Tensor:
        """Return every column's product with itself, (n,)."""
        return self.features.square().sum(dim=0)


@dataclass(frozen=True)
class OutputGram:
    """Inner products of the neurons' outputs h_j(x) v_j over rows and outputs, a few columns at a time.

    Parameters
    ----------
    hidden : Tensor (q, n)
        Activations h_j(x).
    outgoing : Tensor (n, n_out)
        Rows v_j.

    Examples
    --------
    >>> import torch
    >>> gram = OutputGram(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [1.0]]))
    >>> gram.columns(torch.tensor([0])).tolist(), gram.diagonal().tolist()
    ([[9.0], [6.0]], [9.0, 4.0])
    """

    hidden: Tensor
    outgoing: Tensor

    def columns(self, indices: Tensor) -> Tensor:
        """Return the columns (n, k) of the Gram matrix at indices (k,); cost O(q n k)."""
        return (self.hidden.T @ self.hidden[:, indices]) * (self.outgoing @ self.outgoing[indices].T)

    def diagonal(self) -> Tensor:
        """Return every neuron's product with itself, (n,)."""
        return self.hidden.square().sum(dim=0) * self.outgoing.square().sum(dim=1)

    def products(self, targets: Tensor) -> Tensor:
        """Return every neuron's product with targets (q, n_out), (n,)."""
        return ((self.hidden.T @ targets) * self.outgoing).sum(dim=1)
