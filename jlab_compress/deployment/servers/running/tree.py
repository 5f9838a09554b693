"""What a running server sees of a repository: a private folder of links, which nobody else can write to.

A server looks at it again and again, so that a new version loads without a request that others could send.
"""

from __future__ import annotations

import re
from pathlib import Path

CONFIG = "config.pbtxt"
# A line of this form; Triton itself refuses a configuration that names a backend twice.
_ONNX = re.compile(r'^backend: "onnxruntime"$', re.MULTILINE)
_VERSION = re.compile("[0-9]+")
_CODE = re.compile(r"model\.py|.*\.(so|dll|dylib)(\..*)?")


def names_in(folder: Path) -> tuple[str, ...]:
    """Return the models of a repository."""
    return tuple(sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}")))


def lay_tree(tree: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Link models of a repository into an empty folder.

    Raises
    ------
    ValueError
        If a model is not there, or is something else than an ONNX file with data.
    """
    for name in names:
        if name not in names_in(folder):
            raise ValueError(
                f"name: {folder} holds no model {name!r}; it holds {', '.join(names_in(folder))}"
            )
        (tree / name).mkdir(parents=True)
        (tree / name / CONFIG).symlink_to(folder / name / CONFIG)
        link_versions(tree, name)


def link_versions(tree: Path, name: str) -> list[int]:
    """Link the versions of a model that are new, and return their numbers.

    Raises
    ------
    ValueError
        If the model is not in the tree, or would make a server run code of its own.
    """
    if name not in names_in(tree):
        raise ValueError(f"name: the server holds no model {name!r}; it holds {', '.join(names_in(tree))}")
    model = (tree / name / CONFIG).readlink().parent
    _check_data_only(model)
    versions = sorted(int(path.name) for path in model.iterdir() if _VERSION.fullmatch(path.name))
    fresh = [number for number in versions if not (tree / name / str(number)).is_symlink()]
    for number in fresh:
        (tree / name / str(number)).symlink_to(model / str(number))
    return fresh


def _check_data_only(model: Path) -> None:
    """Refuse a model that names another backend or brings code that a server would run."""
    if not _ONNX.search((model / CONFIG).read_text(encoding="utf-8")):
        raise ValueError(
            f'repository: expected the line backend: "onnxruntime" in {model / CONFIG}; other backends run '
            "code of the repository"
        )
    for path in model.rglob("*"):
        if _CODE.fullmatch(path.name):
            raise ValueError(
                f"repository: {path} is code that a server would run; expected ONNX files and texts"
            )
