"""What a model can be written as: one row for each file or folder, for Python, magics and panels alike.

Nothing here imports ONNX; the functions that the rows name do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jlab_compress.deployment.servers.layouts import LAYOUTS

MEASURED = frozenset({"opset", "precision", "calibration", "original"})


@dataclass(frozen=True)
class Target:
    """A form in which a model leaves the notebook.

    Parameters
    ----------
    name : str
        As callers spell it.
    label : str
        On screen.
    function : str
        The public function that writes it.
    usual : str
        The file or folder to propose, with ``{model}`` for the model's name.
    options : frozenset of str
        Which of the choices on an export the function takes as keyword arguments.
    servers : tuple of str
        The servers that this package can start on it; only folders have some.
    """

    name: str
    label: str
    function: str
    usual: str
    options: frozenset[str]
    servers: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder to which each export adds a version."""
        return bool(self.servers)

    def place(self, path: str, model: str) -> dict[str, Any]:
        """Return where to write as keyword arguments of the function.

        Examples
        --------
        >>> TARGETS["onnx"].place("net.onnx", "net")
        {'path': 'net.onnx'}
        """
        if not self.is_folder:
            return {"path": path}
        return {"directory": path, "name": model, "layout": self.name, "version": "next"}


TARGETS = {
    target.name: target
    for target in (
        Target("onnx", "ONNX file", "export_onnx", "{model}.onnx", MEASURED | {"overwrite"}),
        Target("pt2", "torch program (.pt2)", "export_program", "{model}.pt2", frozenset({"overwrite"})),
        *(
            Target(each.name, each.label, "export_repository", each.folder, MEASURED, each.servers)
            for each in LAYOUTS.values()
        ),
    )
}
