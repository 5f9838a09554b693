"""Serve a model on this machine for a moment and compare what it answers with torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from jlab_compress.deployment.onnx.costs import BATCHES
from jlab_compress.deployment.program.folding import ready
from jlab_compress.deployment.program.parity import Parity, cases, compare, run_module
from jlab_compress.deployment.program.signature import Arrays, Feeds, Signature
from jlab_compress.deployment.program.timing import medians_in_turn
from jlab_compress.deployment.servers.commands import choose_server
from jlab_compress.deployment.servers.repository import Repository, export_repository
from jlab_compress.deployment.servers.server import Server, serve
from jlab_compress.deployment.servers.triton_config import as_served
from jlab_compress.report import Report, Reported, Table
from jlab_compress.surroundings import shielded

ROUNDS = range(3, 100)
NAMES = {"triton": "NVIDIA Triton", "mlserver": "MLServer", "mlflow": "MLflow"}
PROTOCOLS = {"http": "HTTP", "grpc": "gRPC"}


@dataclass(frozen=True)
class RequestTime:
    """Median milliseconds of one request and of the same batch in torch, measured in turn.

    Parameters
    ----------
    protocol : str
        "http" (JSON) or "grpc" (binary).
    batch : int
        Rows in one request.
    served : float
        From sending the request to holding its arrays, one client.
    here : float
        The slim model in torch in this process.
    original : float or None
        The original model in torch in this process, where it was given.
    """

    protocol: str
    batch: int
    served: float
    here: float
    original: float | None


@dataclass(frozen=True, repr=False)
class ServedComparison(Reported):
    """What a server answered, how far that is from torch, and how long it took.

    Parameters
    ----------
    repository : Repository
        The version that was written and served; it stays.
    server : str
        "triton", "mlserver" or "mlflow".
    parity : mapping of str to tuple of Parity
        By protocol: differences from torch for each set of input sizes.
    times : tuple of RequestTime
        By protocol and batch.
    """

    kind = "served"

    repository: Repository
    server: str
    parity: dict[str, tuple[Parity, ...]]
    times: tuple[RequestTime, ...]

    @property
    def max_rel_diff(self) -> float:
        """Largest difference of one served value from torch's, relative to the largest in that output."""
        return max(p.max_rel_diff for p in self._entries() if p.max_rel_diff is not None)

    @property
    def max_gap(self) -> float:
        """||served - torch|| / ||torch||, the largest over outputs, sizes and protocols."""
        return max(p.gap for p in self._entries() if p.gap is not None)

    @property
    def agrees(self) -> bool:
        """Whether `max_gap` is within the export's tolerance, and no value is further off than its check saw.

        A smaller precision may add the gap that its export reported.
        """
        export = self.repository.export
        added = export.max_gap if export.is_converted else 0.0
        allowed = export.tolerance
        return self.max_gap <= allowed + added and self.max_rel_diff <= allowed + export.max_rel_diff

    def _entries(self) -> list[Parity]:
        return [entry for entries in self.parity.values() for entry in entries]

    @property
    def report(self) -> Report:
        """The comparison as a report."""
        return _report(self)


@shielded()
def serve_and_compare(
    slim: nn.Module,
    example_inputs: object,
    *,
    directory: str | Path,
    name: str = "model",
    original: nn.Module | None = None,
    layout: str = "triton",
    server: str | None = None,
    **options: Any,
) -> ServedComparison:
    """Write a repository, start a server on it, compare its answers with torch, and stop it.

    The version is written as by `export_repository`, as the next one if the model is there already, and it
    stays. The server listens on 127.0.0.1 only and is asked over HTTP and over gRPC (MLflow: HTTP only) at
    the batches 1, 2, 7 and 64, at several lengths and with padding.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model`, or any module; it stays as it is.
    example_inputs : Tensor, tuple or mapping
        As for `export_onnx`: one batch of at least 2 rows.
    directory : str or Path
        The repository; made if it is missing.
    name : str
        The model's name for clients.
    original : nn.Module, optional
        Timed too, in the export's table and in torch beside the served one.
    layout : {"triton", "kserve", "openvino", "mlflow"}
        All but mlflow share one tree, which Triton or MLServer starts on.
    server : {"triton", "mlserver", "mlflow"}, optional
        By default MLflow for its own layout, else Triton where it is set up, else MLServer.
    **options
        Handed to `export_repository`: version, opset, axes, precision, calibration, facts.

    Returns
    -------
    ServedComparison
        With the `Repository`, the differences and the times.

    Raises
    ------
    ValueError
        If an argument does not fit, or no server is set up; then nothing has been written.
    ServerError
        If the server does not start or refuses a request; the version stays, for a look.
    ExportMismatchError, OSError
        As for `export_repository`.
    """
    kind = choose_server(server, layout)
    model = ready(slim, example_inputs, options.get("axes"))
    signature = model.signature
    options = {"version": "next", "original": original, **options}
    repository = export_repository(slim, directory, name, example_inputs, layout=layout, **options)
    modules = [model.reference]
    if original is not None:
        modules.append(ready(original, signature.example, signature.axes).reference)
    with serve(repository.folder, name, server=kind) as running:
        asks = {p: _asking(running, repository, p) for p in PROTOCOLS if p == "http" or running.grpc}
        parity = {
            p: tuple(compare(ask, modules[0], case, sized) for case, sized in cases(signature))
            for p, ask in asks.items()
        }
        times = tuple(
            _timed(p, ask, batch, signature, modules) for p, ask in asks.items() for batch in BATCHES
        )
    return ServedComparison(repository, kind, parity, times)


def _asking(server: Server, repository: Repository, protocol: str) -> Callable[[Feeds], Arrays]:
    """Return what sends inputs to the version and gives outputs in the shapes of the module's."""
    ports = {port.name: len(port.shape) for port in repository.export.form.outputs}
    version = None if repository.layout == "mlflow" else repository.version

    def ask(feeds: Feeds) -> Arrays:
        sent = feeds if repository.layout == "mlflow" else as_served(feeds, repository.export.form)
        found = server.query(repository.name, sent, version=version, protocol=protocol)
        return {
            name: array[..., 0] if array.ndim > ports[name] and array.shape[-1:] == (1,) else array
            for name, array in found.items()
        }

    return ask


def _timed(
    protocol: str,
    ask: Callable[[Feeds], Arrays],
    batch: int,
    signature: Signature,
    modules: list[nn.Module],
) -> RequestTime:
    sized = signature.resized(batch=batch)
    feeds = sized.feeds()
    runs: list[Callable[[], Arrays]] = [lambda: ask(feeds)]
    runs += [partial(run_module, module, sized) for module in modules]
    served, here, *before = medians_in_turn(runs, seconds=1.0, rounds=ROUNDS)
    return RequestTime(protocol, batch, served, here, before[0] if before else None)


def _report(trial: ServedComparison) -> Report:
    repository, server = trial.repository, NAMES[trial.server]
    words = "the model's outputs" if trial.agrees else "other outputs than the model's,"
    times = {f"served_ms_{t.protocol}_batch_{t.batch}": t.served for t in trial.times}
    return Report(
        "Served and compared",
        f"{server} answered with {words} to {trial.max_gap:.1e} of their norm.",
        {
            "server": trial.server,
            "model": repository.name,
            "version": repository.version,
            "path": str(repository.export.path),
            "precision": repository.export.precision,
            "agrees": trial.agrees,
            "served_gap": trial.max_gap,
            "served_max_rel_diff": trial.max_rel_diff,
            **times,
        },
        tables=(_time_table(trial), _parity_table(trial), *repository.report.tables),
        warnings=(*_warnings(trial), *repository.report.warnings),
        notes=(
            "Times are medians with one client on this machine; HTTP carries JSON, gRPC binary.",
            *repository.report.notes,
        ),
        details=("version", "served_max_rel_diff", *times),
    )


def _time_table(trial: ServedComparison) -> Table:
    columns = ("protocol", "batch", "ms served", "ms slim in torch", "ms original in torch")
    rows = [(PROTOCOLS[t.protocol], t.batch, t.served, t.here, t.original) for t in trial.times]
    known = len(columns) - (trial.times[0].original is None)
    return Table("Requests", columns[:known], tuple(row[:known] for row in rows))


def _parity_table(trial: ServedComparison) -> Table:
    rows = tuple(
        (PROTOCOLS[protocol], p.case, p.max_abs_diff, p.max_rel_diff, p.gap)
        for protocol, entries in trial.parity.items()
        for p in entries
    )
    return Table(
        "The server against torch", ("protocol", "sizes", "max abs diff", "max rel diff", "gap"), rows
    )


def _warnings(trial: ServedComparison) -> tuple[str, ...]:
    if trial.agrees:
        return ()
    export = trial.repository.export
    more = " more than the precision costs" if export.is_converted else ""
    return (
        f"The server's outputs are {trial.max_gap:.1e} of their norm off, expected at most "
        f"{export.tolerance:.0e}{more}; do not ship this version.",
    )
