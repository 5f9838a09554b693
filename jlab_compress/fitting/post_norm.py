"""The map behind a layer: what the model adds to its outputs, and the norm that reads the sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PostNormMap:
    """Where outputs are compared: norm(stream + output) against norm(stream + target).

    In a transformer an error of a block counts as far as it is still there behind the residual sum and the
    norm that reads it.

    Parameters
    ----------
    stream : Tensor (q, n_out) or None
        What the network adds to the output at each calibration row; nothing where None.
    norm : callable or None
        Row-wise map such as a LayerNorm; the identity where None.
    """

    stream: Tensor | None = None
    norm: Callable[[Tensor], Tensor] | None = None

    def __call__(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return norm(stream + outputs) for outputs (B, n_out) at the rows with indices (B,)."""
        values = outputs if self.stream is None else outputs + self.stream[rows].to(outputs)
        return values if self.norm is None else self.norm(values)

    def at(self, rows: Tensor) -> PostNormMap:
        """Return the map of the rows with indices (B,) only, which are then numbered from 0."""
        return PostNormMap(None if self.stream is None else self.stream[rows], self.norm)

    def importance(self, outputs: Tensor, rows: Tensor, *, seed: int = 0, n_probes: int = 8) -> Tensor:
        """Return how strongly each output counts, (B, n_out): the diagonal of J'J, J = d map / d output.

        Estimated with random signs (Hutchinson 1990); ones where there is no norm.
        """
        if self.norm is None:
            return torch.ones_like(outputs)
        generator = torch.Generator().manual_seed(seed)
        values = outputs.detach().requires_grad_()
        with torch.enable_grad():
            behind = self(values, rows)
        total = torch.zeros_like(outputs)
        for _ in range(n_probes):
            signs = torch.randint(2, behind.shape, generator=generator).to(behind) * 2 - 1
            (pulled,) = torch.autograd.grad(behind, values, signs, retain_graph=True)
            total += pulled.square() / n_probes
        return total


def importance_weighted(
    values: Tensor, wanted: Tensor, importance: Tensor, biased: bool
) -> tuple[Tensor, Tensor]:
    """Return columns and targets whose plain squared error is the one weighted by importance.

    Parameters
    ----------
    values : Tensor (q, n)
        Columns.
    wanted : Tensor (q, n_out)
        Targets.
    importance : Tensor (q, n_out)
        How strongly each output counts; taken as a product of a weight of its row and one of its column.
    biased : bool
        Whether a bias is free: then weighted means over rows are subtracted.
    """
    row_weights = importance.mean(dim=1)
    metric = (importance / row_weights[:, None]).mean(dim=0).sqrt()
    root = (row_weights / row_weights.mean()).sqrt()[:, None]
    share = float(biased)
    columns, goals = [(t - share * (root**2 * t).mean(dim=0)) * root for t in (values, wanted)]
    return columns, goals * metric
