"""Export a slim model for torch alone: one .pt2 file of `torch.export`, read back and compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from jlab_compress.deployment.fileformat import beside, check_target
from jlab_compress.deployment.onnx import folded_of, frozen
from jlab_compress.deployment.signature import Axes, as_numpy, named_outputs, read_signature
from jlab_compress.deployment.tracing import exact_attention, exported, quiet_exporter
from jlab_compress.deployment.verification import BATCHES, run_module
from jlab_compress.errors import ExportMismatchError
from jlab_compress.report import Report, Table

TOLERANCE = 1e-5


@dataclass(frozen=True, repr=False)
class Program:
    """A written .pt2 file and how far it is from the model; opens wherever a path does.

    Parameters
    ----------
    path : Path
        The file.
    n_bytes : int
        Its size.
    differences : mapping of int to float
        By batch size the largest difference, relative to the largest magnitude in that output.
    """

    path: Path
    n_bytes: int
    differences: dict[int, float]

    @property
    def report(self) -> Report:
        """The export as a report."""
        worst = max(self.differences.values())
        return Report(
            "Export",
            f"{self.path.name} gives the model's outputs to {worst:.1e} of the largest one.",
            {"path": str(self.path), "bytes": self.n_bytes, "max_rel_diff": worst},
            tables=(
                Table("Difference from torch", ("batch", "max_rel_diff"), tuple(self.differences.items())),
            ),
            notes=("Opens with `torch.export.load(path).module()`; the model's code is not needed.",),
        )

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def export_program(
    slim: nn.Module,
    path: str | Path,
    example_inputs: object,
    *,
    axes: Axes | None = None,
    overwrite: bool = False,
) -> Program:
    """Write a model as a .pt2 file that `torch.export.load` runs without the model's code.

    Multiplicities are folded first; the file gets its name only after it has given the model's outputs at
    several batch sizes.

    Parameters
    ----------
    slim, example_inputs, axes, overwrite
        As for `export_onnx`.
    path : str or Path
        Ends in ``.pt2``.

    Returns
    -------
    Program
        The file, its size and its differences from the model.

    Raises
    ------
    ExportMismatchError
        If an output differs by more than 1e-5 of the largest.
    ValueError, TypeError, OSError
        As for `export_onnx`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room:
    ...     file = export_program(nn.Linear(3, 2), Path(room, "net.pt2"), torch.ones(2, 3))
    ...     torch.export.load(file).module()(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """
    target = check_target(Path(path), overwrite, suffix=".pt2")
    differences = {}
    signature = read_signature(slim, example_inputs, axes)
    reference, folded = frozen(slim), frozen(folded_of(slim))
    with beside(target) as room:
        draft = room / target.name
        with quiet_exporter():
            torch.export.save(exported(folded, signature), draft)
            program = torch.export.load(draft).module()
        for batch in BATCHES:
            sized = signature.resized(batch=batch)
            with exact_attention():
                found = as_numpy(named_outputs(program(*sized.args, **sized.kwargs)))
            differences[batch] = 0.0
            for name, right in run_module(reference, sized).items():
                difference = float(np.abs(found[name] - right).max() / max(np.abs(right).max(), 1e-30))
                if not difference <= TOLERANCE:
                    raise ExportMismatchError(
                        f"{target.name}: output {name!r} at batch {batch} is not the model's"
                    )
                differences[batch] = max(differences[batch], difference)
        draft.replace(target)
    return Program(target, target.stat().st_size, differences)
