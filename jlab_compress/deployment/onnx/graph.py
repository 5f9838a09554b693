"""From a torch module to an ONNX graph by the strict route, the same byte for byte in every process."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx
import torch
from torch import nn

from jlab_compress.deployment.onnx.form import DATATYPES
from jlab_compress.deployment.onnx.values import name_values
from jlab_compress.deployment.program.signature import Signature, outputs_by_name
from jlab_compress.deployment.program.torch_export import Flat, cause_of, exported, quiet_exporter
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.isolation import inference
from jlab_compress.extras import require

OPSETS = range(17, 24)
TRACED = range(18, 23)  # torch writes these itself; its `Attention` of opset 23 is refused by onnxruntime


def trace(model: nn.Module, signature: Signature, opset: int) -> onnx.ModelProto:
    """Return the ONNX graph of a module in eval mode, with named inputs, outputs and varying axes.

    `torch.export` is called with the varying axes spelled out, so an axis that the model fixes is an
    error and is never frozen in silence. Source paths and lines are removed.

    Parameters
    ----------
    model : nn.Module
        On the CPU and in eval mode throughout.
    signature : Signature
        The example inputs.
    opset : int
        17 to 23; 17 is converted from 18, and 23 from 22.

    Raises
    ------
    ImportError
        If onnxscript, with which torch writes ONNX, is not installed.
    ValueError
        If the model cannot be exported; the message names the submodule and the cause.
    """
    require("onnxscript", "onnx")
    with quiet_exporter(), inference():
        outputs = outputs_by_name(model, signature)
        _check_types("input", signature.tensors)
        _check_types("output", outputs)
        program = exported(Flat(model, signature), signature.flat)
        try:
            traced = torch.onnx.export(
                program, opset_version=min(max(opset, TRACED.start), TRACED.stop - 1), verbose=False
            )
        except Exception as error:
            raise_lack_of_memory(error)
            raise ValueError(cause_of(model, error)) from error
    assert traced is not None
    graph = traced.model_proto
    _strip(graph)
    name_values(graph.graph, list(signature.tensors), list(outputs), prefix="model.")
    _rename_axes(graph, signature)
    return _at_opset(graph, opset)


def _check_types(side: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse inputs and outputs of types that clients of a runtime cannot send or read."""
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind not in DATATYPES:
            advice = "pass model.float()" if kind == "bfloat16" else "convert it inside the model's forward"
            raise ValueError(
                f"model: its {side} {name!r} is {kind}, for which clients have no arrays; {advice}"
            )


def _strip(graph: onnx.ModelProto) -> None:
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    graph.doc_string = graph.graph.doc_string = ""
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.value_info[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


def _rename_axes(graph: onnx.ModelProto, signature: Signature) -> None:
    """Give the symbols of the traced graph the names of the signature's axes, outputs included."""
    names: dict[str, str] = {}
    for value in graph.graph.input:
        for axis, label in signature.axes[value.name].items():
            symbol = value.type.tensor_type.shape.dim[axis].dim_param
            if not symbol or names.setdefault(symbol, label) != label:
                raise ValueError(
                    f"model: it ties axis {label!r} of input {value.name!r} to "
                    f"{names.get(symbol, 'a fixed size')!r}; give both axes one name, or leave it fixed"
                )
    for value in (*graph.graph.input, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dim.dim_param)


def _at_opset(graph: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if opset not in TRACED:
        try:
            graph = onnx.version_converter.convert_version(graph, opset)
        except RuntimeError as error:
            raise_lack_of_memory(error)
            raise ValueError(
                f"opset: the model cannot be written at opset {opset} ({in_words(error)}); "
                f"use {TRACED.start} to {TRACED.stop - 1}"
            ) from error
        _drop_newer_attributes(graph, opset)
    graph.ir_version = onnx.helper.find_min_ir_version_for(list(graph.opset_import))
    return graph


def _drop_newer_attributes(graph: onnx.ModelProto, opset: int) -> None:
    """Remove attributes that the converter leaves although the older operator does not know them."""
    for node in graph.graph.node:
        known = onnx.defs.get_schema(node.op_type, opset).attributes
        for attribute in [a for a in node.attribute if a.name not in known]:
            if onnx.helper.get_attribute_value(attribute) != 0:
                raise ValueError(
                    f"opset: operator {node.op_type} needs {attribute.name!r}, which opset {opset} does not "
                    f"have; use {TRACED.start} or later"
                )
            node.attribute.remove(attribute)
