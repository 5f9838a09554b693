"""A kind of block: how its blocks are found in a record, and what its layers keep for each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.inspection.block import Block
from jlab_compress.slim.units import Operator

Finder = Callable[[Uses, frozenset[str]], Mapping[int, Block]]


@dataclass(frozen=True)
class Kind:
    """A kind of block, as `find_blocks` looks for it.

    Parameters
    ----------
    find : callable
        From the recorded model (`Uses`) and the layers whose units earlier finders have taken to blocks, each
        by the index of the recorded operation where it stands among others. A block needs `units`; those
        that are not locked are confirmed by running the model with them permuted and split.
    operators : tuple of Operator
        Rows for types of layers that the package does not know.
    """

    find: Finder
    operators: tuple[Operator, ...] = ()
