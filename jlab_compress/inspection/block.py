"""A block of hidden units and a list of blocks, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jlab_compress.fitting.layer import Activation
from jlab_compress.graph.residual import Residual
from jlab_compress.report import Report, Reported, Table
from jlab_compress.slim.units import Located


@dataclass(frozen=True)
class Block(Located):
    """Hidden units between the layers that make them and the layer that reads them.

    Parameters
    ----------
    name : str
        Dotted path of the (first) layer that makes the units, or of the attention module.
    kind : str
        "mlp", "gated-mlp", "conv" (a unit is a channel), "attention" (a unit is a head), or one of a `Kind`
        that the package does not know.
    units : tuple of UnitAxis
        Every axis of a parameter or running statistic that runs over the units.
    width : int
        The number of units n.
    dimension : int
        Numbers that belong to one unit, m: its incoming rows, biases and outgoing column.
    parameters : int
        n m.
    locked : str or None
        Why the block cannot be compressed; None where it can.
    macs : int or None
        Multiply-adds of the block's layers for one row of the example.
    activation : callable or None
        What happens between the layers, as one function over (q, n) tensors; None for a block that is
        `activation_only`.
    activation_name : str
        The same in words, such as "relu".
    dropout : bool
        Whether dropout acts on the units in training.
    residual : Residual or None
        The norm behind the residual stream that the outputs are added to.
    opt_in : str or None
        Why one width for all blocks does not mean this one, which has to be named; None where it does.
    noun : str
        What its units are called in a sentence.
    activation_only : bool
        Whether only a run of the model tells what one unit gives: heads, and channels that further layers
        treat before they are read.
    """

    width: int
    dimension: int
    parameters: int
    locked: str | None
    macs: int | None = None
    activation: Activation | None = field(default=None, repr=False, compare=False)
    activation_name: str = "unknown"
    dropout: bool = False
    residual: Residual | None = None
    opt_in: str | None = None
    noun: str = "neurons"


class Blocks(Reported, tuple[Block, ...]):
    """The blocks of a model, in the order in which they run; shows itself as a table.

    Parameters
    ----------
    blocks : iterable of Block
        Them.
    notes : sequence of str
        What a reader must know of the model beside them.
    """

    kind = "blocks"
    notes: tuple[str, ...]

    def __new__(cls, blocks: Iterable[Block] = (), notes: Sequence[str] = ()) -> Blocks:
        made = super().__new__(cls, blocks)
        made.notes = tuple(notes)
        return made

    @property
    def unlocked(self) -> tuple[Block, ...]:
        """The blocks that can be compressed."""
        return tuple(block for block in self if block.locked is None)

    @property
    def by_default(self) -> tuple[Block, ...]:
        """The blocks that one width for all stands for: those not locked and not `opt_in`."""
        return tuple(block for block in self.unlocked if block.opt_in is None)

    @property
    def left_out(self) -> tuple[str, ...]:
        """One sentence for each reason why one width for all leaves open blocks out."""
        found: dict[str, list[str]] = {}
        for block in self.unlocked:
            if block.opt_in is not None:
                found.setdefault(block.opt_in, []).append(block.name)
        return tuple(f"{', '.join(names)}: {reason}." for reason, names in found.items())

    def named(self, name: str) -> Block:
        """Return the block of that name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for block in self:
            if block.name == name:
                return block
        raise KeyError(name)

    @property
    def report(self) -> Report:
        """The table of blocks, with the reason for each locked one."""
        rows = tuple(
            (b.name, b.kind, b.activation_name, b.width, b.dimension, b.parameters, b.macs, b.locked)
            for b in self
        )
        columns = ("block", "kind", "activation", "width", "dimension", "parameters", "macs", "locked")
        if not rows:
            summary = "No layer of this model hands hidden neurons on to another one."
            return Report("Blocks", summary, notes=self.notes)
        summary = f"{len(self.unlocked)} of {len(self)} blocks can be compressed."
        table = Table("Blocks in the order in which they run", columns, rows)
        return Report("Blocks", summary, tables=(table,), notes=(*self.left_out, *self.notes))
