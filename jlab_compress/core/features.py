"""Rows of features that are built when they are looked at, so that n x N numbers are never held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.core.polynomials import ProductBasis

_CHUNK_VALUES = 1 << 20  # feature values that are held at once (8 MB)


@dataclass(frozen=True)
class Features:
    """n rows of N features behind one function.

    Parameters
    ----------
    rows, functions : int
        n and N.
    columns : callable
        Maps a slice or an index tensor (b,) to features (N, b), float64; the result may be
        overwritten by the next call.
    device : torch.device
        Where the features live.
    """

    rows: int
    functions: int
    columns: Callable[[slice | Tensor], Tensor]
    device: torch.device

    def moments(self, multiplicities: Tensor) -> Tensor:
        """Return sum_i c_i phi(x_i), (N,), float64, in one pass."""
        total = torch.zeros(self.functions, dtype=torch.float64, device=self.device)
        for part in self._parts(self.rows):
            total.addmv_(self.columns(part), multiplicities[part])
        return total

    def group_sums(self, indices: Tensor, multiplicities: Tensor, groups: int) -> tuple[Tensor, int]:
        """Return sums over consecutive groups of the rows at `indices`, (G', N), and the group size."""
        size = -(-len(indices) // groups)
        sums = []
        for part in self._parts(len(indices), multiple=size):
            weighted = self.columns(indices[part]) * multiplicities[part]
            padding = -weighted.shape[1] % size
            weighted = torch.nn.functional.pad(weighted, (0, padding))
            sums.append(weighted.view(self.functions, -1, size).sum(2).T)
        return torch.cat(sums), size

    def _parts(self, rows: int, multiple: int = 1) -> Iterator[slice]:
        chunk = max(multiple, chunk_rows(self.functions) // multiple * multiple)
        for start in range(0, rows, chunk):
            yield slice(start, min(start + chunk, rows))


def chunk_rows(functions: int) -> int:
    """Return how many rows are built at once: long enough for the vector units, short for the cache."""
    return min(8192, max(1024, _CHUNK_VALUES // functions))


def basis_features(basis: ProductBasis, points: Tensor, chosen: Tensor | None = None) -> Features:
    """Return basis functions (all, or the chosen ones) on points (n, m); one buffer is used again."""
    functions = basis.functions if chosen is None else len(chosen)
    chosen = None if chosen is None else chosen.to(points.device)
    buffer = torch.empty(
        basis.functions, chunk_rows(basis.functions), dtype=torch.float64, device=points.device
    )

    def columns(part: slice | Tensor) -> Tensor:
        picked = points[part]
        values = basis.columns(picked, buffer if len(picked) <= buffer.shape[1] else None)
        return values if chosen is None else values[chosen]

    return Features(len(points), functions, columns, points.device)


def table_features(table: Tensor) -> Features:
    """Return a held table (n, N) as features, after the constant function."""

    def columns(part: slice | Tensor) -> Tensor:
        chosen = table[part].to(torch.float64).T
        return torch.cat([torch.ones_like(chosen[:1]), chosen])

    return Features(len(table), table.shape[1] + 1, columns, table.device)
