"""A folder that an inference server starts on as it is."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.deployment.onnx.export_report import ExportReport
from jlab_compress.deployment.program.axes import BATCH
from jlab_compress.deployment.program.signature import read_signature
from jlab_compress.deployment.servers.layouts import LAYOUTS
from jlab_compress.deployment.servers.modelcard import write_companions
from jlab_compress.drafts import beside
from jlab_compress.report import Report, Reported
from jlab_compress.surroundings import shielded

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # no files on Windows
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@dataclass(frozen=True, repr=False)
class Repository(Reported):
    """A model version in a server's folder.

    Parameters
    ----------
    folder : Path
        What the server is started on; holds ``name/version/``.
    name : str
        The model's name for clients.
    version : int
        The version that was written.
    layout : str
        "triton", "kserve", "openvino" or "mlflow".
    export : ExportReport
        What was written and how it was checked.
    """

    kind = "export"

    folder: Path
    name: str
    version: int
    layout: str
    export: ExportReport

    @property
    def path(self) -> Path:
        """The folder of this version."""
        return self.folder / self.name / str(self.version)

    @property
    def report(self) -> Report:
        """The export as a report."""
        return self.export.report

    def __repr__(self) -> str:
        return f"{self.name} version {self.version} for {self.layout} in {self.folder}\n{self.report}"


@shielded()
def export_repository(
    slim: nn.Module,
    directory: str | Path,
    name: str,
    example_inputs: object,
    *,
    layout: str = "triton",
    version: int | str = 1,
    **options: Any,
) -> Repository:
    """Export a model into a folder that an inference server starts on, with all that belongs beside it.

    A version's folder holds model.onnx, a model card, report.json, an input example, a client script and
    SHA-256 sums. It appears in one step; a version that is there is never written again.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model`, or any module.
    directory : str or Path
        The repository; made if it is missing. Links in it are not followed.
    name : str
        1 to 63 letters, digits, ``.``, ``_`` and ``-``, from a letter to a letter or digit, so that it is a
        folder, a part of addresses and a name in a cluster everywhere.
    example_inputs : Tensor, tuple or mapping
        As for `export_onnx`.
    layout : {"triton", "kserve", "openvino", "mlflow"}
        kserve and openvino add one file to the tree of triton; mlflow needs the extra of that name.
    version : int or "next"
        "next" is one more than the highest that is there, also where another export takes that one first.
    **options
        Handed to `export_onnx`: opset, axes, precision, calibration, original, facts.

    Returns
    -------
    Repository
        Where it is, and the `ExportReport`.

    Raises
    ------
    ValueError
        If name, layout or version do not fit, or the model's inputs and outputs differ from those that the
        versions before it are served with.
    FileExistsError
        If the version is there, or `directory` is a file.
    PermissionError
        If `directory` cannot be written to.
    ExportMismatchError
        As for `export_onnx`; nothing is left behind.
    """
    _check_choices(name, layout)
    folder = _made(Path(directory))
    _check_place(folder / name)
    number = _version(folder / name, version)
    signature = read_signature(slim, example_inputs, options.get("axes"))
    with beside(_workshop(folder) / name, argument="directory") as room:
        tree = room / name
        target = tree / str(number)
        target.mkdir(parents=True)
        export = export_onnx(slim, target / "model.onnx", example_inputs, **options)
        example = signature.resized(**{BATCH: 2}).feeds()
        LAYOUTS[layout].write(target, export.form, example)
        while True:
            placed = replace(export, path=folder / name / str(number) / "model.onnx")
            write_companions(target, name, placed, example, LAYOUTS[layout])
            if _published(target, folder / name):
                return Repository(folder, name, number, layout, placed)
            number = _version(folder / name, version)
            target = target.rename(tree / str(number))


def _check_choices(name: str, layout: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or _DEVICES.fullmatch(name):
        raise ValueError(
            "name: expected 1 to 63 letters, digits, '.', '_' and '-', from a letter to a letter or digit, "
            f"without '..' and no device of Windows, got {str(name)[:80]!r}; it becomes a folder and a part "
            "of addresses"
        )
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")


def _made(folder: Path) -> Path:
    """Return the folder, made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"directory: {str(folder)!r} cannot be made ({error.strerror}); choose another one"
        ) from error
    except ValueError as error:  # a null, or half a character
        raise ValueError(f"directory: {str(folder)!r} is no name of a folder; choose another one") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"directory: {str(folder)!r} cannot be written to; choose another one")
    return folder


def _workshop(folder: Path) -> Path:
    """Return where to build a version: beside the folder, unseen by servers, where a rename works."""
    parent = folder.resolve().parent
    near = parent.stat().st_dev == folder.stat().st_dev and os.access(parent, os.W_OK)
    return parent if near else folder


def _check_place(model: Path) -> None:
    """Refuse a model's folder that is or holds a link, is a file, or differs from another one by case."""
    for path in (model, *model.glob("*")):
        if path.is_symlink():
            raise ValueError(
                f"directory: {str(path)!r} is a symbolic link, which is not followed; remove it or choose "
                "another name"
            )
    if model.exists() and not model.is_dir():
        raise FileExistsError(f"directory: {str(model)!r} is a file; choose another name")
    for other in model.parent.iterdir():
        if other.name != model.name and other.name.casefold() == model.name.casefold():
            raise ValueError(
                f"name: {other.name} is there and differs from {model.name} by case only; choose another name"
            )


def _version(folder: Path, version: int | str) -> int:
    there = [int(path.name) for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name)]
    if version == "next":
        return max(there, default=0) + 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f'version: expected a whole number from 1 or "next", got {version!r}')
    if version in there:
        raise FileExistsError(
            f"version: {folder.name} has version {version} already; versions are never written again, "
            'pass version="next"'
        )
    return version


def _published(version: Path, final: Path) -> bool:
    """Put a whole new model, or a version of an old one, in its place by one rename, unless it is taken."""
    if not any(final.glob("*")) and _moved(version.parent, final):
        return True
    _check_place(final)
    _check_same_ports(version.parent / "config.pbtxt", final / "config.pbtxt")
    return _moved(version, final / version.name)


def _moved(folder: Path, place: Path) -> bool:
    """Move a folder, unless something else is in its place."""
    try:
        os.rename(folder, place)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _check_same_ports(new: Path, old: Path) -> None:
    if not old.exists():
        return
    differing = sorted(set(_ports(new)) ^ set(_ports(old)))
    if differing:
        raise ValueError(
            f"model: its inputs and outputs are not those that {old.parent.name} is served with "
            f"({'; '.join(differing)}); choose another name"
        )


def _ports(config: Path) -> list[str]:
    lines = config.read_text(encoding="utf-8").splitlines() if config.exists() else []
    return [line for line in lines if line.startswith(("input", "output", "max_batch_size"))]
