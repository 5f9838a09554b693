"""Names of the values of a graph: inputs and outputs as asked for, parameters as in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx


def name_values(graph: onnx.GraphProto, inputs: Sequence[str], outputs: Sequence[str], prefix: str) -> None:
    """Name a graph's values in place; values of other meaning that have one of these names give way.

    Parameters
    ----------
    graph : GraphProto
        An output that is a parameter or an input, too, becomes a value of its own.
    inputs, outputs : sequence of str
        Their names, in order; all different.
    prefix : str
        What is left out in front of the names of parameters.
    """
    _part_outputs(graph)
    names = {tensor.name: tensor.name.removeprefix(prefix) for tensor in graph.initializer}
    names |= dict(zip((value.name for value in graph.input), inputs, strict=True))
    names |= dict(zip((value.name for value in graph.output), outputs, strict=True))
    there = set(_names(graph))
    asked = {new for old, new in names.items() if old != new or old in (*inputs, *outputs)}
    for name in there - set(names):
        if name in asked:
            names[name] = _free(name, there | asked)
    _rename(graph, lambda name: names.get(name, name))


def _part_outputs(graph: onnx.GraphProto) -> None:
    """Give outputs that are parameters or inputs, or the same value as another one, a value of their own."""
    seen = {tensor.name for tensor in (*graph.initializer, *graph.input)}
    for value in graph.output:
        if value.name in seen:
            own = _free(value.name, set(_names(graph)))
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [own], name=f"node_{own}"))
            value.name = own
        seen.add(value.name)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_value"
    return name


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of all values of a graph and of the graphs inside it."""
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in _inner(node):
            yield from _names(inner)


def _rename(graph: onnx.GraphProto, new: Callable[[str], str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new(name) for name in names]
        for inner in _inner(node):
            _rename(inner, new)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
