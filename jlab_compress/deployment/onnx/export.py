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
from jlab_compress.deployment.program.axes import Axes
from jlab_compress.deployment.program.folding import Ready, ready
from jlab_compress.deployment.program.numbers import in_words_of
from jlab_compress.deployment.program.parity import Parity, check_parity
from jlab_compress.deployment.program.signature import Arrays, feeds_of
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
        What the model is called on, with at least 2 rows: tensors, also nested in tuples, lists, mappings and
        dataclasses, whose keys and numbers stand behind the names (``batch_ids``, ``args_0``).
    opset : int
        17 to 23. The default, 18, loads in every onnxruntime since 1.16.
    axes : mapping of str to mapping of int to str, optional
        Axes that may vary, by input: ``{"image": {0: "batch", 2: "height"}}``. By default axis 0 is
        "batch", and axis 1 of token ids, masks and what goes with them is "sequence" where the model runs at
        other lengths. An output that is named like an input gets ``_out`` behind its name.
    precision : {"float32", "float16", "int8"}
        Precision of the weights; the error that it adds is reported. "float32" leaves them as they are; the
        others are made from float32.
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
        every size each output may be off by a tolerance times its norm, ||file - model|| / ||model||, and a
        single value by as much of the largest one; a value may be further off, and is warned about, only
        where the module is itself that far from its float64 copy. The tolerance, which the report says, is
        that of the coarsest type in which the model computes: 1e-6 for float64, 1e-5 for float32, 1e-2 for
        float16.
    FileExistsError, FileNotFoundError, PermissionError
        If `path` cannot be written.
    ValueError, TypeError
        If an argument does not fit, the model cannot be exported, or onnxruntime lacks its operators in the
        types in which it computes (bfloat16; convolutions and GELU in float64).

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
    model = ready(slim, example_inputs, axes)
    signature = model.signature
    own = _own_precision(model.folded, precision)
    checked = partial(_checked, model, opset)
    told = dict(facts or {})
    with beside(target) as room:
        draft = room / target.name
        graph = trace(model.folded, signature, opset)
        stamp(graph, slim, model.plan, {**told, "precision": own})
        write_graph(graph, draft)
        form, exact = checked(draft, model.tolerance)
        parity = exact
        if precision != "float32":
            draft = _converted(draft, precision, _feeds(slim, calibration))
            restamp(draft, slim, model.plan, {**told, "precision": precision})
            check_loads(draft)
            form, parity = checked(draft, None)
        report = ExportReport(
            path=target,
            precision=own if precision == "float32" else precision,
            parity=parity,
            float32_parity=exact,
            n_parameters=count_parameters(model.folded),
            macs=count_macs(model.folded, signature.call),
            n_bytes=bytes_of(draft),
            sha256=sha256_of(draft),
            form=form,
            plan=model.plan,
            costs=None if original is None else _costs(original, model, draft, opset),
            facts=told,
            tolerance=model.tolerance,
            told=model.told,
        )
        publish(draft, target)
    return report


def _checked(
    model: Ready, opset: int, path: Path, tolerance: float | None
) -> tuple[Form, tuple[Parity, ...]]:
    """Return a file's form and errors, if they are as promised; a tolerance of None only records errors."""
    form = check_form(path, opset=opset, signature=model.signature, reference=model.folded)
    if torch.float16 in model.types:
        check_loads(path)
    parity = measure_parity(path, model.reference, model.signature)
    if tolerance is not None:
        check_parity(path.name, parity, model.reference, model.signature, tolerance)
    return form, parity


def _own_precision(model: nn.Module, precision: str) -> str:
    """Return the precision of a model's own weights; a smaller one can be made of float32 only."""
    own = in_words_of(frozenset(p.dtype for p in model.parameters() if p.is_floating_point()))
    if precision != "float32" and own != "float32":
        raise ValueError(
            f"precision: {precision} is made from float32 weights, the model's are {own}; pass model.float()"
        )
    return own


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


def _feeds(model: nn.Module, calibration: object) -> list[Arrays] | None:
    if calibration is None:
        return None
    calls, _ = read_batches(model, calibration)
    return [feeds_of(model, call) for call in calls]


def _costs(original: nn.Module, slim: Ready, path: Path, opset: int) -> Costs:
    before = ready(original, slim.signature.example, slim.signature.axes).folded
    before_path = path.parent / f"original-{path.name}"
    write_graph(trace(before, slim.signature, opset), before_path)
    pair, call = (before_path, path), slim.signature.call
    return Costs(
        n_bytes=(bytes_of(before_path), bytes_of(path)),
        n_parameters=(count_parameters(before), count_parameters(slim.folded)),
        macs=(count_macs(before, call), count_macs(slim.folded, call)),
        latency=measure_latency(pair, slim.signature),
        peak_memory=(
            measure_memory(before_path, slim.signature),
            measure_memory(path, slim.signature),
        ),
    )
