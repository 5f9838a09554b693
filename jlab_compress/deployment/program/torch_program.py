"""Export a slim model for torch alone: one .pt2 file of `torch.export`, read back and compared."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, treespec_dumps

from jlab_compress.deployment.program.axes import Axes
from jlab_compress.deployment.program.folding import ready
from jlab_compress.deployment.program.parity import Parity, cases, check_parity, compare
from jlab_compress.deployment.program.signature import (
    Arrays,
    Signature,
    as_numpy,
)
from jlab_compress.deployment.program.torch_export import exported, quiet_exporter
from jlab_compress.drafts import beside, check_target
from jlab_compress.execution.isolation import inference
from jlab_compress.report import Report, Reported, Table
from jlab_compress.surroundings import shielded


@dataclass(frozen=True, repr=False)
class Program(Reported):
    """A written .pt2 file and how far it is from the model; opens wherever a path does.

    Parameters
    ----------
    path : Path
        The file.
    n_bytes : int
        Its size.
    parity : tuple of Parity
        Differences from the model for each set of input sizes.
    told : tuple of str
        What was left out, and which difference was allowed.
    """

    kind = "export"

    path: Path
    n_bytes: int
    parity: tuple[Parity, ...]
    told: tuple[str, ...] = ()

    @property
    def report(self) -> Report:
        """The export as a report."""
        worst = max(p.gap for p in self.parity if p.gap is not None)
        rows = tuple((p.case, p.max_abs_diff, p.max_rel_diff, p.gap) for p in self.parity)
        columns = ("sizes", "max abs diff", "max rel diff", "gap")
        return Report(
            "Export",
            f"{self.path.name} gives the model's outputs to {worst:.1e} of their norm.",
            {"path": str(self.path), "bytes": self.n_bytes, "max_gap": worst},
            tables=(Table("The file against the model", columns, rows),),
            notes=(
                "Opens with `torch.export.load(path).module()`; the model's code is not needed.",
                *self.told,
            ),
        )

    def __fspath__(self) -> str:
        return os.fspath(self.path)


@shielded()
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
    several batches and lengths.

    Parameters
    ----------
    slim, example_inputs, axes, overwrite
        As for `export_onnx`.
    path : str or Path
        Ends in ``.pt2``.

    Returns
    -------
    Program
        The file, its size and its differences from the model; usable as a path.

    Raises
    ------
    ExportMismatchError
        As for `export_onnx`.
    TypeError
        As for `export_onnx`, and if tensors are in dataclasses or named tuples that torch does not know.
    ValueError, OSError
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
    model = ready(slim, example_inputs, axes)
    signature = model.signature
    _check_nesting("takes", (signature.example.args, dict(signature.example.kwargs)))
    with inference():
        _check_nesting("returns", signature.call(model.reference))
    with beside(target) as room:
        draft = room / target.name
        with quiet_exporter():
            written = io.BytesIO()  # torch ends the whole process where it cannot write to a disk
            torch.export.save(exported(model.folded, signature), written)
            draft.write_bytes(written.getbuffer())
            program = torch.export.load(draft).module()
        parity = tuple(
            compare(partial(_answers, program, sized), model.reference, case, sized)
            for case, sized in cases(signature)
        )
        check_parity(target.name, parity, model.reference, signature, model.tolerance)
        os.replace(draft, target)
    return Program(target, target.stat().st_size, parity, model.told)


def _check_nesting(does: str, value: object) -> None:
    """Refuse tensors nested in types that torch cannot write down."""
    leaves, nesting = tree_flatten(value)
    strange = next((type(leaf).__name__ for leaf in leaves if is_dataclass(leaf)), None)
    try:
        treespec_dumps(nesting)
    except NotImplementedError:
        strange = "named tuple or a type of its own"
    if strange is not None:
        raise TypeError(
            f"model: a .pt2 file has tensors in tuples, lists and dicts, and this model {does} a {strange}; "
            "use a dict, export as ONNX, or call torch.export.register_dataclass on it first"
        )


def _answers(program: nn.Module, sized: Signature, _: object) -> Arrays:
    with inference():
        return as_numpy(sized.outputs(sized.call(program)))
