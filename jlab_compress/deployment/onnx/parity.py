"""Read an ONNX file back and hold it to what was promised: its form, then its numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor, nn

from jlab_compress.deployment.onnx.form import Arrays, Feeds
from jlab_compress.deployment.onnx.graph import exact_attention
from jlab_compress.deployment.onnx.signature import BATCH, Signature, as_numpy, named_outputs
from jlab_compress.errors import ExportMismatchError
from jlab_compress.execution.isolation import copy_model

BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-5
ROUNDINGS = 4  # two runtimes that sum in other orders differ by about the sum of their own errors
_LOAD = "import sys, onnxruntime as o; o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs are from the module's for one set of input sizes.

    Parameters
    ----------
    case : str
        The sizes, for example "batch 7, sequence 12".
    max_abs_diff : float or None
        Largest difference of one value, over all outputs; None where the module refuses this size itself.
    max_rel_diff : float or None
        The same, relative to the largest magnitude in that output.
    gap : float or None
        ||file - module|| / ||module||, the largest over the outputs.
    """

    case: str
    max_abs_diff: float | None
    max_rel_diff: float | None
    gap: float | None


def check_form(path: Path, *, opset: int, signature: Signature, outputs: list[str]) -> None:
    """Raise if a file's opset, names, axes or operators differ from what was asked for.

    Raises
    ------
    ExportMismatchError
        With every fault that was found.
    """
    faults = []
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        faults.append(f"onnx's checker refuses it ({str(error).splitlines()[0]})")
    graph = onnx.load(str(path), load_external_data=False)
    faults += [*_opset_faults(graph, opset), *_value_faults(graph, signature, outputs), *_node_faults(graph)]
    if faults:
        raise ExportMismatchError(f"{path.name}: {'; '.join(faults)}; the file was not written")


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


def _node_faults(graph: onnx.ModelProto) -> Iterator[str]:
    if any(node.op_type == "Dropout" for node in graph.graph.node):
        yield "it holds a Dropout, which belongs to training"
    foreign = {f"{node.domain}::{node.op_type}" for node in graph.graph.node if node.domain}
    if foreign or graph.functions:
        names = ", ".join(sorted(foreign)) or "local functions"
        yield f"it holds operators outside the default domain ({names})"
    if any(node.metadata_props or node.doc_string for node in graph.graph.node):
        yield "its nodes carry source paths"


def shape_of(value: onnx.ValueInfoProto) -> list[str | int]:
    """Return a graph value's shape: a name for an axis that varies, a number for one that does not."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def open_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a file in onnxruntime on the CPU; 0 threads means all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


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
            f"{path.name}: onnxruntime cannot load it ({words[0][:300]}); export it as float32"
        )


def cases(signature: Signature) -> Iterator[tuple[str, Signature]]:
    """Yield the sizes to compare at: four batches, four sizes of each other axis, a padded batch."""
    for batch in BATCHES:
        yield _sized(signature, **{BATCH: batch})
    for axis, size in signature.sizes.items():
        if axis != BATCH:
            for other in sorted({1, 2, size // 2 + 1, 2 * size + 1}):
                yield _sized(signature, **{BATCH: 2, axis: other})
    padded = signature.padded()
    if padded is not None:
        yield "padding mask", padded


def _sized(signature: Signature, **sizes: int) -> tuple[str, Signature]:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items()), signature.resized(**sizes)


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
    ExportMismatchError
        If the file refuses a size that the module takes, or gives other shapes or non-finite values.
    """
    session = open_session(path)

    def ask(feeds: Feeds) -> Arrays:
        try:
            return run_session(session, feeds)
        except Exception as error:
            raise ExportMismatchError(f"onnxruntime fails where the model runs: {error}") from error

    return tuple(compare(ask, reference, case, sized) for case, sized in cases(signature))


def compare(ask: Callable[[Feeds], Arrays], reference: nn.Module, case: str, signature: Signature) -> Parity:
    """Compare what something answers with a module's outputs for one set of input sizes.

    Parameters
    ----------
    ask : callable
        Gives outputs by name for inputs by name.
    reference : nn.Module
        On the CPU, in eval mode.
    case : str
        Names the sizes.
    signature : Signature
        The inputs.

    Returns
    -------
    Parity
        With None where the module itself refuses the size; `ask` is not called then.

    Raises
    ------
    ExportMismatchError
        If the answer has other shapes, or is finite in other places.
    """
    try:
        expected = run_module(reference, signature)
    except Exception:
        return Parity(f"{case} (the model refuses this size)", None, None, None)
    found = ask(signature.feeds())
    gaps = [_difference(name, case, expected[name], found[name]) for name in expected]
    return Parity(case, *(max(column) for column in zip(*gaps, strict=True)))


def check_parity(
    name: str,
    parity: tuple[Parity, ...],
    reference: nn.Module,
    signature: Signature,
    tolerance: float = TOLERANCE,
) -> None:
    """Refuse an output that is off as a whole, or a value that is off by more than rounding explains.

    At every size each output may be off by `tolerance` of its norm, and each value by `tolerance` of the
    largest one, or by four times the module's own distance from float64 where that is larger.

    Raises
    ------
    ExportMismatchError
        With the first size at which it is not so.
    """
    sized = dict(cases(signature))
    for entry in parity:
        if entry.gap is None or entry.max_rel_diff is None:
            continue
        faults = [] if entry.gap <= tolerance else [f"{entry.gap:.2e} of the outputs' norm"]
        own = 0.0
        if faults or not entry.max_rel_diff <= tolerance:
            own = max(_rounding(reference, sized[c]) for c in {entry.case, f"batch {BATCHES[-1]}"})
        if not entry.max_rel_diff <= max(tolerance, ROUNDINGS * own):
            faults.append(f"{entry.max_rel_diff:.2e} of the largest output")
        if faults:
            raise ExportMismatchError(
                f"{name}: at {entry.case} it is {' and '.join(faults)} off, expected at most {tolerance:.0e} "
                f"(the model in float32 is itself {own:.0e} off from float64); the file was not written"
            )


def _rounding(reference: nn.Module, signature: Signature) -> float:
    """Return how far a module is from its float64 copy, or 0 where it does not run in float64."""
    floating = {n: t.double() for n, t in signature.tensors.items() if t.is_floating_point()}
    wide = replace(signature, values={**signature.values, **floating})
    try:
        exact = run_module(copy_model(reference).double(), wide)
    except Exception:
        return 0.0
    found = run_module(reference, signature)
    return max(_difference(name, "float64", exact[name], found[name])[1] for name in exact)


def run_module(module: nn.Module, signature: Signature) -> Arrays:
    """Return a module's outputs by name, without gradients and off the fused attention path."""
    with exact_attention():
        outputs: Mapping[str, Tensor] = named_outputs(module(*signature.args, **signature.kwargs))
    return as_numpy(outputs)


def run_session(session: onnxruntime.InferenceSession, feeds: Feeds) -> Arrays:
    """Return a session's outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _difference(
    name: str, case: str, expected: NDArray[Any], found: NDArray[Any]
) -> tuple[float, float, float]:
    if expected.shape != found.shape:
        raise ExportMismatchError(
            f"output {name!r} at {case}: expected shape {expected.shape}, got {found.shape}"
        )
    a, b = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        raise ExportMismatchError(f"output {name!r} at {case}: it is finite in other places than the model's")
    if not finite.any():
        return 0.0, 0.0, 0.0
    far = np.abs(a - b)[finite]
    scale, norm = float(np.abs(a[finite]).max()) or 1.0, float(np.linalg.norm(a[finite])) or 1.0
    return float(far.max()), float(far.max()) / scale, float(np.linalg.norm(far)) / norm
