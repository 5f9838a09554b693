"""What an export found, as values and as a report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jlab_compress.deployment.onnx.costs import Latency
from jlab_compress.deployment.onnx.form import Form
from jlab_compress.deployment.program.parity import BATCHES, Parity
from jlab_compress.report import Report, Reported, Scalar, Table
from jlab_compress.slim.plan import Plan

LARGE_ERROR = 0.05
DETAILS = ("sha256", "opset", "ir_version", "onnx_max_abs_diff", "onnx_gap")


@dataclass(frozen=True)
class Costs:
    """What the original model and the exported one cost, measured side by side.

    Parameters
    ----------
    n_bytes, n_parameters, macs : tuple of int
        Before and after; multiply-adds are for one row.
    latency : tuple of Latency
        Each with two medians in milliseconds, before and after.
    peak_memory : tuple of (int or None)
        Bytes that loading and one batch of 32 add to a process; None where it cannot be read.
    """

    n_bytes: tuple[int, int]
    n_parameters: tuple[int, int]
    macs: tuple[int, int]
    latency: tuple[Latency, ...]
    peak_memory: tuple[int | None, int | None]


@dataclass(frozen=True, repr=False)
class ExportReport(Reported):
    """A written ONNX file, how far it is from the model, and what it costs.

    Parameters
    ----------
    path : Path
        The file.
    precision : str
        Of the weights: "float32" or what the model has, or "float16" or "int8" where asked for.
    parity, float32_parity : tuple of Parity
        Errors of the file, and of its float32 form before a smaller precision, for each set of sizes.
    n_parameters, macs, n_bytes : int
        Of the exported model; multiply-adds for one row.
    sha256 : str
        Of the file.
    form : Form
        Opset, names, axes and metadata as read back.
    plan : Plan or None
        How the model was made slim.
    costs : Costs or None
        Before and after, where the original was given.
    facts : mapping of str to scalar
        As handed over by the caller.
    tolerance : float
        What `float32_parity` was held to.
    told : tuple of str
        What was left out of the file, and why that tolerance.
    """

    kind = "export"

    path: Path
    precision: str
    parity: tuple[Parity, ...]
    float32_parity: tuple[Parity, ...]
    n_parameters: int
    macs: int
    n_bytes: int
    sha256: str
    form: Form
    plan: Plan | None
    costs: Costs | None
    facts: Mapping[str, Scalar]
    tolerance: float
    told: tuple[str, ...] = ()

    @property
    def is_converted(self) -> bool:
        """Whether the weights were written in a smaller precision than the model has."""
        return self.parity != self.float32_parity

    @property
    def max_abs_diff(self) -> float:
        """Largest difference of one output value from the model's, over all sizes compared."""
        return max(p.max_abs_diff for p in self.parity if p.max_abs_diff is not None)

    @property
    def max_rel_diff(self) -> float:
        """The same, relative to the largest magnitude in that output."""
        return max(p.max_rel_diff for p in self.parity if p.max_rel_diff is not None)

    @property
    def gap(self) -> float:
        """||file - model|| / ||model|| over the example's rows, at the largest batch compared."""
        return next(p.gap for p in self.parity if p.case == f"batch {BATCHES[-1]}" and p.gap is not None)

    @property
    def max_gap(self) -> float:
        """||file - model|| / ||model||, the largest over outputs and sizes."""
        return max(p.gap for p in self.parity if p.gap is not None)

    @property
    def report(self) -> Report:
        """The export as a report."""
        return _report(self)

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        Path(path).write_text(self.report.to_json() + "\n", encoding="utf-8")


def _report(export: ExportReport) -> Report:
    facts: dict[str, Scalar] = {
        "path": str(export.path),
        "sha256": export.sha256,
        "opset": export.form.opset,
        "ir_version": export.form.ir_version,
        "precision": export.precision,
        "onnx_max_abs_diff": export.max_abs_diff,
        "onnx_max_rel_diff": export.max_rel_diff,
        "onnx_gap": export.gap,
        "onnx_max_gap": export.max_gap,
        **_cost_facts(export),
        **export.facts,
    }
    tables = [_parity_table(export), _port_table(export)]
    if export.plan is not None and export.plan.blocks:
        tables.append(_block_table(export.plan))
    if export.costs is not None:
        tables[:0] = [_cost_table(export.costs), _latency_table(export.costs)]
    return Report(
        "Export",
        f"{export.path.name} gives the model's outputs to {export.max_gap:.1e} of their norm.",
        facts,
        tables=tuple(tables),
        warnings=_warnings(export),
        notes=(*export.told, _conditions()),
        details=DETAILS,
    )


def _cost_facts(export: ExportReport) -> dict[str, Scalar]:
    costs = export.costs
    if costs is None:
        return {
            "onnx_bytes_after": export.n_bytes,
            "parameters_after": export.n_parameters,
            "macs_after": export.macs,
        }
    first = costs.latency[0].milliseconds
    pairs: dict[str, tuple[Scalar, Scalar]] = {
        "onnx_bytes": costs.n_bytes,
        "parameters": costs.n_parameters,
        "macs": costs.macs,
        "latency_ms": (first[0], first[1]),
        "peak_memory_bytes": costs.peak_memory,
    }
    return {
        f"{name}_{when}": v
        for name, pair in pairs.items()
        for when, v in zip(("before", "after"), pair, strict=True)
    }


def _cost_table(costs: Costs) -> Table:
    rows = [
        ("bytes of the file", *costs.n_bytes),
        ("parameters", *costs.n_parameters),
        ("multiply-adds for one row", *costs.macs),
        ("peak memory at batch 32, bytes", *costs.peak_memory),
    ]
    return Table(
        "Size before and after",
        ("what", "before", "after", "ratio"),
        tuple((what, a, b, a / b if a and b else None) for what, a, b in rows),
        repeats=True,
    )


def _latency_table(costs: Costs) -> Table:
    ratio = costs.macs[0] / costs.macs[1] if costs.macs[1] else None
    rows = tuple(
        (row.batch, row.threads, *row.milliseconds, row.milliseconds[0] / row.milliseconds[1], ratio)
        for row in costs.latency
    )
    columns = ("batch", "threads", "ms before", "ms after", "speed-up", "multiply-add ratio")
    return Table("Latency in onnxruntime, medians of interleaved rounds", columns, rows)


def _parity_table(export: ExportReport) -> Table:
    rows = tuple((p.case, p.max_abs_diff, p.max_rel_diff, p.gap) for p in export.parity)
    return Table("The file against the model", ("sizes", "max abs diff", "max rel diff", "gap"), rows)


def _port_table(export: ExportReport) -> Table:
    ports = [("input", p) for p in export.form.inputs] + [("output", p) for p in export.form.outputs]
    rows = tuple((side, p.name, p.dtype, " x ".join(map(str, p.shape)) or "scalar") for side, p in ports)
    return Table("Inputs and outputs", ("side", "name", "type", "shape"), rows)


def _block_table(plan: Plan) -> Table:
    rows = tuple((b.name, b.width_before, b.width_after, b.method) for b in plan.blocks)
    return Table("Blocks", ("name", "width before", "width after", "method"), rows)


def _warnings(export: ExportReport) -> tuple[str, ...]:
    found = []
    worst = max((p for p in export.parity if p.gap is not None), key=lambda p: p.gap or 0.0)
    if export.max_gap > LARGE_ERROR:
        found.append(
            f"{export.precision} moves the outputs by {export.max_gap:.1%} of their norm at {worst.case}; "
            "check the accuracy, or export as float32."
        )
    if not export.is_converted and export.max_rel_diff > export.tolerance:
        found.append(
            f"Single values are up to {export.max_rel_diff:.1e} of the largest off; the model in torch is "
            f"itself that far from float64, and all values together are {export.max_gap:.1e} of the norm off."
        )
    refused = [p.case for p in export.parity if p.gap is None]
    if refused:
        found.append(f"Not compared at {'; '.join(refused)}.")
    return tuple(found)


def _conditions() -> str:
    names = ("jlab-compress", "torch", "onnx", "onnxruntime")
    return ", ".join(f"{name} {version(name)}" for name in names) + f"; {platform.machine()} CPU."
