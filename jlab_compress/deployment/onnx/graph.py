"""From a torch module to an ONNX graph by the strict route, the same byte for byte in every process."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from torch import nn

from jlab_compress.deployment.onnx.signature import BATCH, Signature, named_outputs

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
    ValueError
        If the model cannot be exported; the message names the submodule and the cause.
    """
    with quiet_exporter(), exact_attention():
        outputs = list(named_outputs(_run(model, signature)))
        program = exported(model, signature)
        try:
            traced = torch.onnx.export(
                program,
                opset_version=min(max(opset, TRACED.start), TRACED.stop - 1),
                input_names=list(signature.tensors),
                output_names=outputs,
                verbose=False,
            )
        except Exception as error:
            raise ValueError(_cause(model, error)) from error
    assert traced is not None
    graph = traced.model_proto
    _strip(graph)
    _rename_axes(graph, signature)
    return _at_opset(graph, opset)


def exported(model: nn.Module, signature: Signature) -> torch.export.ExportedProgram:
    """Return the program of a module in eval mode by `torch.export`, with the varying axes spelled out.

    Raises
    ------
    ValueError
        If the model cannot be exported; the message names the submodule and the cause.
    """
    _check_names(model)
    shapes = _dynamic_shapes(signature)
    with quiet_exporter(), exact_attention():
        try:
            return torch.export.export(model, signature.args, signature.kwargs, dynamic_shapes=shapes)
        except Exception as error:
            raise ValueError(_cause(model, error)) from error


def _run(model: nn.Module, signature: Signature) -> Any:
    try:
        return model(*signature.args, **signature.kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"example_inputs: expected inputs that the model runs on, it stopped with: {first}; "
            "pass a batch of the shape, type and names that its forward takes"
        ) from error


def _check_names(model: nn.Module) -> None:
    """Refuse layer names that could end a string in the code that torch.export writes and runs."""
    for name, _ in model.named_modules():
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise ValueError(
                f"model: expected layer names without quotes, backslashes and line breaks, "
                f"got {name[:60]!r}; rename that layer, since the exporter writes names into code"
            )


@contextlib.contextmanager
def exact_attention() -> Iterator[None]:
    """Keep `nn.TransformerEncoder` off its fused inference path, which by-passes submodules and padding."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hold back the exporter's log lines and warnings, and keep the random state as it is."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stderr(io.StringIO()),
            _folders_are_no_modules(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _folders_are_no_modules() -> Iterator[None]:
    """Keep torch from taking a repository folder called "triton" beside the notebook for the compiler."""
    found = sys.modules.get("triton") or importlib.util.find_spec("triton")
    place = getattr(found, "__file__", None) or getattr(found, "origin", None)
    if found is None or place is not None:
        yield
        return
    before = sys.modules.pop("triton", None)
    sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["triton"]
        if before is not None:
            sys.modules["triton"] = before


def _dynamic_shapes(signature: Signature) -> dict[str, Any]:
    batch = torch.export.Dim(BATCH, min=1)
    shapes: dict[str, Any] = dict.fromkeys(signature.values)
    for name in signature.tensors:
        shapes[name] = {
            axis: batch if label == BATCH else torch.export.Dim.DYNAMIC
            for axis, label in signature.axes[name].items()
        }
    return shapes


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
            raise ValueError(
                f"opset: the model cannot be written at opset {opset} ({_first_line(error)}); "
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


def _cause(model: nn.Module, error: Exception) -> str:
    place = _submodule(model, error)
    where = f"submodule {place[0]!r} ({place[1]})" if place else "the model"
    return f"model: {where} cannot be exported: {_first_line(error)}"


def _submodule(model: nn.Module, error: BaseException) -> tuple[str, str] | None:
    """Return the dotted path and class of the innermost submodule whose forward raised."""
    paths = {id(module): path for path, module in model.named_modules()}
    found = None
    trace_back = error.__traceback__
    while trace_back is not None:
        owner = trace_back.tb_frame.f_locals.get("self")
        if id(owner) in paths:
            found = (paths[id(owner)] or "the model itself", type(owner).__name__)
        trace_back = trace_back.tb_next
    if found is None and error.__cause__ is not None:
        return _submodule(model, error.__cause__)
    return found


def _first_line(error: BaseException) -> str:
    words = r"You marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)"
    fixed = re.search(words, str(error))
    if fixed:
        axis = re.sub(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]", r"\2 of input \1", fixed[1])
        return f"its code fixes axis {axis} to {fixed[2]}; let it take any size, or do not name that axis"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
