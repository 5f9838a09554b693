"""Read an ONNX file back and hold it to what was promised: its form, then its numbers in onnxruntime."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import nn

from jlab_compress.deployment.onnx.files import form_of, shape_of
from jlab_compress.deployment.onnx.form import Form
from jlab_compress.deployment.onnx.session import open_session, run_session
from jlab_compress.deployment.program.numbers import in_words_of, types_of
from jlab_compress.deployment.program.parity import Parity, cases, compare
from jlab_compress.deployment.program.signature import Arrays, Feeds, Signature, outputs_by_name
from jlab_compress.errors import ExportMismatchError, in_words, raise_lack_of_memory

_LOAD = "import sys, onnxruntime as o; o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


def check_form(path: Path, *, opset: int, signature: Signature, reference: nn.Module) -> Form:
    """Return what a file says about itself, if its opset, names, axes, shapes and operators are as asked for.

    Parameters
    ----------
    path : Path
        The ONNX file.
    opset : int
        As asked for.
    signature : Signature
        The example inputs.
    reference : nn.Module
        The folded module: the file has its outputs, and what is named like one of its tensors has its shape.

    Raises
    ------
    ExportMismatchError
        With every fault that was found.
    """
    faults = []
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise_lack_of_memory(error)
        faults.append(f"onnx's checker refuses it ({in_words(error)})")
    graph = onnx.load(str(path), load_external_data=False)
    outputs = list(outputs_by_name(reference, signature))
    faults += [*_opset_faults(graph, opset), *_value_faults(graph, signature, outputs), *_node_faults(graph)]
    faults += _parameter_faults(graph, reference)
    if faults:
        raise ExportMismatchError(f"{path.name}: {'; '.join(faults)}; the file was not written")
    return form_of(graph)


def _opset_faults(graph: onnx.ModelProto, opset: int) -> Iterator[str]:
    found = [(entry.domain or "default", entry.version) for entry in graph.opset_import]
    if found != [("default", opset)]:
        yield f"expected opset {opset} of the default domain, got {found}"


def _value_faults(graph: onnx.ModelProto, signature: Signature, outputs: list[str]) -> Iterator[str]:
    if [value.name for value in graph.graph.output] != outputs:
        yield f"expected outputs {outputs}, got {[value.name for value in graph.graph.output]}"
    if [value.name for value in graph.graph.input] != list(signature.tensors):
        yield f"expected inputs {list(signature.tensors)}, got {[value.name for value in graph.graph.input]}"
        return
    for value in graph.graph.input:
        expected = [
            signature.axes[value.name].get(axis, size)
            for axis, size in enumerate(signature.tensors[value.name].shape)
        ]
        if shape_of(value) != expected:
            yield f"input {value.name!r}: expected shape {expected}, got {shape_of(value)}"


def _parameter_faults(graph: onnx.ModelProto, reference: nn.Module) -> Iterator[str]:
    tensors = (
        *reference.named_parameters(remove_duplicate=False),
        *reference.named_buffers(remove_duplicate=False),
    )
    shapes = {name: list(tensor.shape) for name, tensor in tensors}
    for stored in graph.graph.initializer:
        found = list(stored.dims)
        if shapes.get(stored.name, found) != found:
            yield f"expected {stored.name} of shape {shapes[stored.name]}, got {found}"


def _node_faults(graph: onnx.ModelProto) -> Iterator[str]:
    if any(node.op_type == "Dropout" for node in graph.graph.node):
        yield "it holds a Dropout, which belongs to training"
    foreign = {f"{node.domain}::{node.op_type}" for node in graph.graph.node if node.domain}
    if foreign or graph.functions:
        names = ", ".join(sorted(foreign)) or "local functions"
        yield f"it holds operators outside the default domain ({names})"
    if any(node.metadata_props or node.doc_string for node in graph.graph.node):
        yield "its nodes carry source paths"


def check_loads(path: Path) -> None:
    """Load a file in a process of its own, since a file on which onnxruntime crashes would end this one.

    Raises
    ------
    ExportMismatchError
        If it does not load.
    """
    done = subprocess.run([sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"it crashes with status {done.returncode}"]
        raise ExportMismatchError(
            f"{path.name}: onnxruntime cannot load it ({words[0][:300]}); export it as float32, a model in "
            "float16 as model.float()"
        )


def measure_parity(path: Path, reference: nn.Module, signature: Signature) -> tuple[Parity, ...]:
    """Compare a file in onnxruntime with a module over all `cases`.

    Parameters
    ----------
    path : Path
        The ONNX file.
    reference : nn.Module
        On the CPU, in eval mode.
    signature : Signature
        The example inputs; other sizes go round its entries.

    Returns
    -------
    tuple of Parity
        One entry per case; a size that the module itself refuses has None.

    Raises
    ------
    ValueError
        If onnxruntime cannot run the model at all, as in types for which it lacks operators.
    ExportMismatchError
        If the file refuses a size that the module takes, or gives other shapes or non-finite values.
    """
    try:
        session = open_session(path)
    except Exception as error:
        raise_lack_of_memory(error)
        raise ValueError(_lacking(str(error), types_of(reference, signature))) from error

    def ask(feeds: Feeds) -> Arrays:
        try:
            return run_session(session, feeds)
        except Exception as error:
            raise_lack_of_memory(error)
            raise ExportMismatchError(f"onnxruntime fails where the model runs: {error}") from error

    return tuple(compare(ask, reference, case, sized) for case, sized in cases(signature))


def _lacking(words: str, types: frozenset[torch.dtype]) -> str:
    """Return in a sentence why onnxruntime does not open the file of a model that computes in some types."""
    operator = re.search(r"Could not find an implementation for (\w+)", words)
    rare = in_words_of(types - {torch.float32})
    if operator is None or types <= {torch.float32}:
        return f"model: onnxruntime does not run it ({words.splitlines()[0][:200]}); the file was not written"
    return (
        f"model: onnxruntime has no {operator[1]} for {rare}, in which this model computes; pass a copy in "
        "float32 (model.float()), without autocast inside it"
    )
