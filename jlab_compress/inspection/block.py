"""A block of hidden units and a list of blocks, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from jlab_compress.fitting.layer import Activation
from jlab_compress.inspection.residual import Residual
from jlab_compress.report import Report, Reported, Table


@dataclass(frozen=True)
class Block:
    """Hidden neurons between the layers that make them and the layer that reads them.

    Parameters
    ----------
    name : str
        Dotted path of the (first) layer that makes the neurons.
    kind : str
        "mlp", "gated-mlp", "conv" (a neuron is a channel) or "attention" (a neuron is a head).
    width : int
        The number of neurons n.
    dimension : int
        Numbers that belong to one neuron, m: its incoming rows, biases and outgoing column.
    parameters : int
        n m.
    locked : str or None
        Why the block cannot be compressed; None where it can.
    incoming : tuple of str
        Dotted paths of the layers that make the neurons.
    outgoing : str
        Dotted path of the layer that reads them.
    macs : int or None
        Multiply-adds of the block's layers for one row of the example.
    activation : callable or None
        What happens between the layers, as one function over (q, n) tensors.
    residual : Residual or None
        The norm behind the residual stream that the outputs are added to.
    norm : str or None
        Dotted path of the batch norm directly after the incoming layer.
    repeat : int
        Consecutive inputs of the outgoing layer that come from one neuron (a flattened channel, a head).
    sections : tuple of int
        Of heads: stretches of each incoming layer's rows, each with all heads in turn.
    chain : tuple of str
        Dotted paths of further layers that treat each channel on its own (depthwise convolutions, norms).
    apart : str or None
        Why one width for all blocks does not mean this one, which has to be named; None where it does.
    """

    name: str
    kind: str
    width: int
    dimension: int
    parameters: int
    locked: str | None
    incoming: tuple[str, ...]
    outgoing: str
    macs: int | None = None
    activation: Activation | None = field(default=None, repr=False, compare=False)
    residual: Residual | None = None
    norm: str | None = None
    repeat: int = 1
    sections: tuple[int, ...] = ()
    chain: tuple[str, ...] = ()
    apart: str | None = None

    @property
    def recorded(self) -> bool:
        """Whether only a run of the model tells what one neuron gives: heads, and channels with a chain."""
        return self.kind == "attention" or bool(self.chain)

    @property
    def units(self) -> str:
        """What the block's objects are called in a sentence."""
        return "heads" if self.kind == "attention" else "neurons"

    @property
    def activation_name(self) -> str:
        """The activation in words, such as "relu"."""
        return str(getattr(self.activation, "name", "unknown"))


class Blocks(Reported, tuple[Block, ...]):
    """The blocks of a model, in the order in which they run; shows itself as a table."""

    __slots__ = ()
    kind = "blocks"

    @property
    def unlocked(self) -> tuple[Block, ...]:
        """The blocks that can be compressed."""
        return tuple(block for block in self if block.locked is None)

    @property
    def meant(self) -> tuple[Block, ...]:
        """The blocks that one width for all stands for: those not locked and not `apart`."""
        return tuple(block for block in self.unlocked if block.apart is None)

    @property
    def left_out(self) -> tuple[str, ...]:
        """One sentence for each reason why one width for all leaves open blocks out."""
        found: dict[str, list[str]] = {}
        for block in self.unlocked:
            if block.apart is not None:
                found.setdefault(block.apart, []).append(block.name)
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
            return Report("Blocks", "No layer of this model hands hidden neurons on to another one.")
        summary = f"{len(self.unlocked)} of {len(self)} blocks can be compressed."
        table = Table("Blocks in the order in which they run", columns, rows)
        return Report("Blocks", summary, tables=(table,), notes=self.left_out)
