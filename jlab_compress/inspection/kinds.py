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
    """A kind of block that `find_blocks` and `prepare` look for.

    The package knows neurons, channels and heads. Another kind takes three things: a finder; an `Operator`,
    one row about each type of layer that the package does not know; and for such a type a `WeightedLayer`
    that computes with multiplicities. Pass the kind to `find_blocks` or `prepare`, and its operators to
    `load`; compressing, training, folding and saving then work as for all others.

    Parameters
    ----------
    find : callable
        From the recorded model, `Uses`, and the layers and parameters (dotted names) whose units earlier
        finders have taken, to blocks by the index of the recorded operation where each stands among others.
        A block says by its `units` where these are. Where they are no neurons of linear layers it is
        `activation_only`: its fits take recorded values. A block that is not locked is confirmed by running
        the model with its units permuted and split.
    operators : tuple of Operator
        Rows for types of layers that the package does not know.
    """

    find: Finder
    operators: tuple[Operator, ...] = ()
