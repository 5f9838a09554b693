"""Export a slim model as one ONNX file that is read back and held to what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from jlab_compress.deployment.onnx.costs import measure_latency, measure_memory
from jlab_compress.deployment.onnx.export_report import Costs, ExportReport
from jlab_compress.deployment.onnx.files import (
    beside,
    bytes_of,
    check_target,
    describe,
    publish,
    sha256_of,
    stamp,
    write_graph,
)
from jlab_compress.deployment.onnx.form import PRECISIONS, Arrays
from jlab_compress.deployment.onnx.graph import OPSETS, exact_attention, trace
from jlab_compress.deployment.onnx.parity import (
    TOLERANCE,
    Parity,
    check_form,
    check_loads,
    check_parity,
    measure_parity,
)
from jlab_compress.deployment.onnx.precision import convert
from jlab_compress.deployment.onnx.signature import Axes, Signature, named_outputs, read_signature
from jlab_compress.execution.inputs import read_batches
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.graph.costs import count_macs, count_parameters
from jlab_compress.report import Scalar
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.weighted import WeightedLayer


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
    reference, folded = reference_and_folded(slim)
    with beside(target) as room:
        draft = room / target.name
        write_graph(trace(folded, signature, opset), draft)
        stamp(draft, slim, plan_of_any(slim), {**(facts or {}), "precision": "float32"})
        exact = parity = verified(draft, reference, signature, opset, TOLERANCE)
        if precision != "float32":
            draft = _converted(draft, precision, _feeds(slim, calibration, signature))
            stamp(draft, slim, plan_of_any(slim), {**(facts or {}), "precision": precision})
            check_loads(draft)
            parity = verified(draft, reference, signature, opset, None)
        report = ExportReport(
            path=target,
            precision=precision,
            parity=parity,
            float32_parity=exact,
            n_parameters=count_parameters(folded),
            macs=count_macs(folded, signature.call),
            n_bytes=bytes_of(draft),
            sha256=sha256_of(draft),
            form=describe(draft),
            plan=plan_of_any(slim),
            costs=None if original is None else _costs(original, folded, draft, signature, opset),
            facts=dict(facts or {}),
        )
        publish(draft, target)
    return report


def plan_of_any(model: nn.Module) -> Plan | None:
    """Return the plan of a slim model, and None for any other module."""
    try:
        return plan_of(model)
    except ValueError:
        return None


def folded_of(model: nn.Module) -> nn.Module:
    """Return a model with all its slim layers folded, also where a wrapper hides the plan."""
    if plan_of_any(model) is None:
        if not any(isinstance(module, WeightedLayer) for module in model.modules()):
            return model
        model = copy_model(unwrapped(model))
        attach_plan(model, Plan(()))
    return fold(model)


def reference_and_folded(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return a frozen copy of a model and one with its slim layers folded: one object where it has none."""
    reference, folded = frozen(model), folded_of(model)
    return reference, reference if folded is model else frozen(folded)


def frozen(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in eval mode."""
    return copy_model(unwrapped(model)).cpu().eval()


def verified(
    path: Path, reference: nn.Module, signature: Signature, opset: int, tolerance: float | None
) -> tuple[Parity, ...]:
    """Check a file's form and its numbers; a tolerance of None only records the numbers.

    Raises
    ------
    ExportMismatchError
        If the form is not as promised, or an error is above the tolerance.
    """
    with exact_attention():
        outputs = list(named_outputs(reference(*signature.args, **signature.kwargs)))
    check_form(path, opset=opset, signature=signature, outputs=outputs)
    parity = measure_parity(path, reference, signature)
    if tolerance is not None:
        check_parity(path.name, parity, reference, signature, tolerance)
    return parity


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
    before = frozen(folded_of(original))
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
