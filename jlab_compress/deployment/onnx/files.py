"""ONNX files on disk: written whole, stamped with where they come from, described, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from jlab_compress.deployment.onnx.form import Form, Port
from jlab_compress.report import Scalar
from jlab_compress.slim.copies import stored_state
from jlab_compress.slim.plan import Plan

LARGEST_SINGLE_FILE = 2**31 - 2**20
PREFIX = "jlab_compress."


def write_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Write a graph; weights of more than 2 GB go into a file beside it that must keep its name.

    The name says what is in it, so that new weights never take the place of those that an old graph reads.
    """
    weights = [tensor.raw_data for tensor in graph.graph.initializer]
    if sum(map(len, weights)) < LARGEST_SINGLE_FILE:
        path.write_bytes(graph.SerializeToString(deterministic=True))
        return
    digest = hashlib.sha256()
    for data in weights:
        digest.update(data)
    location = f"{path.name}.{digest.hexdigest()[:16]}.data"
    onnx.save_model(graph, str(path), save_as_external_data=True, location=location)


def files_of(path: Path) -> list[Path]:
    """Return a file and the file with its weights, if it has one; the latter first."""
    weights = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    return [*(p for p in sorted(path.parent.iterdir()) if weights.fullmatch(p.name)), path]


def publish(draft: Path, target: Path) -> None:
    """Move a finished file to its final name in one step, its weights before it, and remove older weights."""
    new = {file: target.with_name(file.name) for file in files_of(draft)}
    old = [file for file in files_of(target) if file not in new.values()]
    for file, place in new.items():
        os.replace(file, place)
    for file in old:
        file.unlink()


def bytes_of(path: Path) -> int:
    """Return the bytes of a file and of the weights beside it."""
    return sum(file.stat().st_size for file in files_of(path))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of one file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_hash(model: nn.Module) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(stored_state(model).items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def stamp(graph: onnx.ModelProto, slim: nn.Module, plan: Plan | None, facts: Mapping[str, Scalar]) -> None:
    """Replace a graph's metadata in place: package version, source hash, plan and facts."""
    widths = {b.name: [b.width_before, b.width_after, b.method] for b in plan.blocks} if plan else {}
    entries = {
        "version": version("jlab-compress"),
        "source_sha256": source_hash(slim),
        "blocks": json.dumps(widths, sort_keys=True),
        "multiplicity_totals": json.dumps(_totals(slim), sort_keys=True),
        "facts": json.dumps(dict(facts), sort_keys=True),
    }
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {PREFIX + key: value for key, value in entries.items()})
    graph.producer_name, graph.producer_version = "jlab-compress", version("jlab-compress")


def restamp(path: Path, slim: nn.Module, plan: Plan | None, facts: Mapping[str, Scalar]) -> None:
    """Replace the metadata of a file; weights in a file beside it stay there."""
    graph = onnx.load(str(path), load_external_data=False)
    stamp(graph, slim, plan, facts)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _totals(slim: nn.Module) -> dict[str, float]:
    ending = "input_multiplicities"
    return {
        name.removesuffix(f".{ending}"): float(tensor.double().sum())
        for name, tensor in slim.state_dict().items()
        if name.endswith(ending)
    }


def form_of(graph: onnx.ModelProto) -> Form:
    """Return what a graph says about itself."""
    return Form(
        opset=graph.opset_import[0].version,
        ir_version=graph.ir_version,
        inputs=tuple(_port(value) for value in graph.graph.input),
        outputs=tuple(_port(value) for value in graph.graph.output),
        metadata={entry.key: entry.value for entry in graph.metadata_props},
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return Port(value.name, np.dtype(kind).name, tuple(shape_of(value)))


def shape_of(value: onnx.ValueInfoProto) -> list[str | int]:
    """Return a graph value's shape: a name for an axis that varies, a number for one that does not."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
