"""Export a slim model as one ONNX file that is read back and held to what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from jlab_compress.deployment.onnx.checks import check_form, check_loads, measure_parity
from jlab_compress.deployment.onnx.costs import measure_latency, measure_memory
from jlab_compress.deployment.onnx.export_report import Costs, ExportReport
from jlab_compress.deployment.onnx.files import (
    bytes_of,
    publish,
    restamp,
    sha256_of,
    stamp,
    write_graph,
)
from jlab_compress.deployment.onnx.form import PRECISIONS, Form
from jlab_compress.deployment.onnx.graph import OPSETS, trace
from jlab_compress.deployment.onnx.precision import convert
from jlab_compress.deployment.program.folding import ready
from jlab_compress.deployment.program.parity import TOLERANCE, Parity, check_parity
from jlab_compress.deployment.program.signature import (
    Arrays,
    Axes,
    Signature,
    outputs_by_name,
    read_signature,
)
from jlab_compress.drafts import beside, check_target
from jlab_compress.execution.inputs import read_batches
from jlab_compress.graph.costs import count_macs, count_parameters
from jlab_compress.report import Scalar
from jlab_compress.surroundings import shielded


@shielded()
def export_onnx(
    slim: nn.Module,
    path: str | Path,
    example_inputs: object,
    *,
    opset: int = 18,
    axes: Axes | None = None,
    precision: str = "float32",
    calibration: object = None,
    original: nn.Module | None = None,
    facts: Mapping[str, Scalar] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model as ONNX, read the file back, and compare it with the model in onnxruntime.

    Multiplicities are folded into stock layers first. The file is written under another name and gets its
    own only after every check has passed; the same model and versions give the same bytes.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model`, or any module; it and its train/eval flags stay as they are.
    path : str or Path
        Ends in ``.onnx``; its folder exists. A graph over 2 GB puts its weights into a file beside it.
    example_inputs : Tensor, tuple or mapping
        What the model is called on, with at least 2 rows.
    opset : int
        17 to 23. The default, 18, loads in every onnxruntime since 1.16.
    axes : mapping of str to mapping of int to str, optional
        Axes that may vary, by input: ``{"image": {0: "batch", 2: "height"}}``. By default axis 0 is
        "batch" and, for matrices of integers or booleans, axis 1 is "sequence".
    precision : {"float32", "float16", "int8"}
        Precision of the weights; the error that it adds is reported.
    calibration : batches, optional
        Only for int8: fixes the ranges of the activations beforehand (static quantisation).
    original : nn.Module, optional
        Exported too, to measure bytes, parameters, multiply-adds, latency and memory before and after.
    facts : mapping of str to scalar, optional
        Recorded in the file and in the report, for example the function gap and the training gap.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    ExportReport
        Parity, sizes, hashes and measured costs.

    Raises
    ------
    ExportMismatchError
        If opset, names, axes, operators or numbers are not as promised; nothing is left under `path`. At
        every size each output may be off by 1e-5 of its norm, ||file - model|| / ||model||, and a single
        value by 1e-5 of the largest one; a value may be further off, and is warned about, only where the
        module in float32 is itself that far from its float64 copy.
    FileExistsError, FileNotFoundError, PermissionError
        If `path` cannot be written.
    ValueError, TypeError
        If an argument does not fit or the model cannot be exported.

    Examples
    --------
    >>> import tempfile, torch
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> with tempfile.TemporaryDirectory() as room:
    ...     export_onnx(net, Path(room, "net.onnx"), torch.ones(2, 4)).max_rel_diff < 1e-5
    True
    """
    _check_choices(slim, opset, precision, calibration)
    target = check_target(Path(path), overwrite)
    signature = read_signature(slim, example_inputs, axes)
    model = ready(slim)
    checked = partial(_checked, model.reference, signature, opset)
    told = dict(facts or {})
    with beside(target) as room:
        draft = room / target.name
        graph = trace(model.folded, signature, opset)
        stamp(graph, slim, model.plan, {**told, "precision": "float32"})
        write_graph(graph, draft)
        form, exact = checked(draft, TOLERANCE)
        parity = exact
        if precision != "float32":
            draft = _converted(draft, precision, _feeds(slim, calibration, signature))
            restamp(draft, slim, model.plan, {**told, "precision": precision})
            check_loads(draft)
            form, parity = checked(draft, None)
        report = ExportReport(
            path=target,
            precision=precision,
            parity=parity,
            float32_parity=exact,
            n_parameters=count_parameters(model.folded),
            macs=count_macs(model.folded, signature.call),
            n_bytes=bytes_of(draft),
            sha256=sha256_of(draft),
            form=form,
            plan=model.plan,
            costs=None if original is None else _costs(original, model.folded, draft, signature, opset),
            facts=told,
        )
        publish(draft, target)
    return report


def _checked(
    reference: nn.Module, signature: Signature, opset: int, path: Path, tolerance: float | None
) -> tuple[Form, tuple[Parity, ...]]:
    """Return a file's form and errors, if they are as promised; a tolerance of None only records errors."""
    outputs = list(outputs_by_name(reference, signature))
    form = check_form(path, opset=opset, signature=signature, outputs=outputs)
    parity = measure_parity(path, reference, signature)
    if tolerance is not None:
        check_parity(path.name, parity, reference, signature, tolerance)
    return form, parity


def _check_choices(slim: object, opset: int, precision: str, calibration: object) -> None:
    if not isinstance(slim, nn.Module):
        raise TypeError(
            f"slim: expected a torch.nn.Module, got {type(slim).__name__}; pass compress(...).model"
        )
    for name, parameter in slim.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"slim: parameter {name!r} holds NaN or infinite values; export a sound model")
    if isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(
            f"opset: expected {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}; 18 is the safe choice"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if calibration is not None and precision != "int8":
        raise ValueError(
            "calibration: only int8 has ranges to calibrate; pass precision='int8' or leave it out"
        )


def _converted(plain: Path, precision: str, calibration: list[Arrays] | None) -> Path:
    draft = plain.parent / precision / plain.name
    draft.parent.mkdir()
    convert(plain, draft, precision, calibration)
    return draft


def _feeds(model: nn.Module, calibration: object, signature: Signature) -> list[Arrays] | None:
    if calibration is None:
        return None
    calls, _ = read_batches(model, calibration)
    return [read_signature(model, call, signature.axes).feeds() for call in calls]


def _costs(original: nn.Module, folded: nn.Module, path: Path, signature: Signature, opset: int) -> Costs:
    before = ready(original).folded
    before_path = path.parent / f"original-{path.name}"
    write_graph(trace(before, signature, opset), before_path)
    pair = (before_path, path)
    return Costs(
        n_bytes=(bytes_of(before_path), bytes_of(path)),
        n_parameters=(count_parameters(before), count_parameters(folded)),
        macs=(count_macs(before, signature.call), count_macs(folded, signature.call)),
        latency=measure_latency(pair, signature),
        peak_memory=(measure_memory(before_path, signature), measure_memory(path, signature)),
    )
