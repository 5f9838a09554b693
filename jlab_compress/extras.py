"""The packages that only some parts need, and the sentence that says how to install a missing one."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# What each extra is for, as it ends "... is needed for".
PURPOSES = {
    "notebook": "the magics and the panel",
    "onnx": "exports to ONNX",
    "validation": "pictures and distances of a validation",
    "serve": "servers on this machine and requests over gRPC",
    "mlflow": "MLflow models",
    "signing": "signatures of model folders",
}
# The extra that installs each optional package.
EXTRAS = {
    "IPython": "notebook",
    "anywidget": "notebook",
    "ipywidgets": "notebook",
    "traitlets": "notebook",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "matplotlib": "validation",
    "ot": "validation",
    "psutil": "serve",
    "tritonclient": "serve",
    "mlflow": "mlflow",
    "model_signing": "signing",
}
# What keeps packages that would report to their makers from doing so; each reads it when it is imported.
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def quiet() -> None:
    """Switch the telemetry of optional packages off, in this process and those it starts.

    A variable that is set already stays as it is.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package where it is needed.

    Parameters
    ----------
    module : str
        Its import name, also of a part of it, such as "matplotlib.figure".
    extra : str
        The extra of this package that installs it, a key of `PURPOSES`.

    Raises
    ------
    ImportError
        If it is not installed: one sentence with the line to type.

    Examples
    --------
    >>> require("json", "onnx").loads("[1]")
    [1]
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as fault:
        if fault.name != module and not module.startswith(f"{fault.name}."):
            raise
        raise _missing(str(fault.name).partition(".")[0], extra) from None


def explained(fault: ModuleNotFoundError) -> ImportError:
    """Return the sentence for a missing optional package; any other fault comes back as it is."""
    package = (fault.name or "").partition(".")[0]
    return _missing(package, EXTRAS[package]) if package in EXTRAS else fault


def lacking(module: str) -> ImportError | None:
    """Return the sentence for an optional package that is not installed, without importing it.

    Parameters
    ----------
    module : str
        Its import name, a key of `EXTRAS`.

    Examples
    --------
    >>> lacking("onnx") is None
    True
    """
    return None if find_spec(module) else _missing(module, EXTRAS[module])


def _missing(module: str, extra: str) -> ImportError:
    line = f'pip install "jlab-compress[{extra}]"'
    return ImportError(f"{module} is needed for {PURPOSES[extra]}: {line}", name=module)
