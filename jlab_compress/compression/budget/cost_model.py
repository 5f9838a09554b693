"""What widths cost: parameters, multiply-adds or milliseconds, layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from jlab_compress.compression.prepared import Prepared
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import watching
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.graph.costs import count_parameters
from jlab_compress.inspection.block import Block

Kind = Literal["parameters", "macs", "latency"]
RUNS = 7


@dataclass(frozen=True)
class CostModel:
    """The cost of a model as a function of its blocks' widths.

    A layer's amount falls with the width of the block that it makes and of the one that it reads, so
    that a layer between two blocks falls with both.

    Parameters
    ----------
    fixed : float
        What no width changes.
    parts : tuple of (float, tuple of str)
        Present amounts of layers, with the blocks whose widths scale them.
    present : mapping of str to int
        The blocks' widths now.
    """

    fixed: float
    parts: tuple[tuple[float, tuple[str, ...]], ...]
    present: Mapping[str, int]

    def __call__(self, widths: Mapping[str, int]) -> float:
        """Return the cost at some widths, as a share of the present cost.

        Examples
        --------
        >>> cost = CostModel(10.0, ((90.0, ("a", "b")),), {"a": 10, "b": 3})
        >>> cost({"a": 5, "b": 1})
        0.25
        """
        total = self.fixed
        for amount, blocks in self.parts:
            for name in blocks:
                amount *= widths[name] / self.present[name]
            total += amount
        return total / (self.fixed + sum(amount for amount, _ in self.parts))


def read_cost_model(prepared: Prepared, blocks: Iterable[Block], kind: Kind) -> CostModel:
    """Return what the widths of some blocks cost in a model.

    Parameters
    ----------
    prepared : Prepared
        The model; for "latency" it runs on the first batch.
    blocks : iterable of Block
        Those whose widths may change.
    kind : {"parameters", "macs", "latency"}
        What to count; "latency" takes the least of seven runs here, in milliseconds.
    """
    chosen = list(blocks)
    scaled: dict[str, list[str]] = {}
    for block in chosen:
        for name in (*block.incoming, block.outgoing):
            scaled.setdefault(name, []).append(block.name)
    whole, amounts = _READERS[kind](prepared, list(scaled))
    parts = [(amounts[name], tuple(names)) for name, names in scaled.items()]
    for block in chosen:
        parts.append((max(0.0, _between(prepared, block, amounts, kind)), (block.name,)))
    fixed = max(0.0, whole - sum(amount for amount, _ in parts))
    return CostModel(fixed, tuple(parts), {block.name: block.width for block in chosen})


def _between(prepared: Prepared, block: Block, amounts: Mapping[str, float], kind: Kind) -> float:
    """Return what falls with a block's own width alone: biases, and products between its layers."""
    if kind == "parameters":
        biases = [getattr(prepared.original.get_submodule(name), "bias", None) for name in block.incoming]
        return float(sum(b.numel() for b in biases if b is not None))
    if kind == "macs":
        layers = sum(amounts[name] for name in (*block.incoming, block.outgoing))
        return (block.macs or 0) * prepared.trace.rows - layers
    return 0.0


def _parameters(prepared: Prepared, layers: list[str]) -> tuple[float, dict[str, float]]:
    weights: dict[str, Any] = {name: prepared.original.get_submodule(name).weight for name in layers}
    sizes = {name: float(weight.numel()) for name, weight in weights.items()}
    return float(count_parameters(prepared.original)), sizes


def _macs(prepared: Prepared, layers: list[str]) -> tuple[float, dict[str, float]]:
    amounts, whole = dict.fromkeys(layers, 0.0), 0.0
    for operation in prepared.trace.operations:
        whole += operation.macs
        if operation.module in amounts:
            amounts[operation.module] += operation.macs
    return whole, amounts


def _milliseconds(prepared: Prepared, layers: list[str]) -> tuple[float, dict[str, float]]:
    runs = [_timed(prepared.original, prepared.calls[0], layers) for _ in range(RUNS)]
    return min(w for w, _ in runs), {name: min(each[name] for _, each in runs) for name in layers}


def _timed(model: nn.Module, call: Call, layers: list[str]) -> tuple[float, dict[str, float]]:
    spent, began = dict.fromkeys(layers, 0.0), dict[str, float]()

    def begin(name: str, given: Any) -> None:
        began[name] = time.perf_counter()

    def end(name: str, output: Any) -> None:
        spent[name] += 1000 * (time.perf_counter() - began[name])

    with watching(model, layers, enter=begin, leave=end), undisturbed(model):
        first = time.perf_counter()
        call(model)
        return 1000 * (time.perf_counter() - first), spent


_READERS: dict[str, Callable[[Prepared, list[str]], tuple[float, dict[str, float]]]] = {
    "parameters": _parameters,
    "macs": _macs,
    "latency": _milliseconds,
}
