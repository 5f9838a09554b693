"""Shrink wide layers to few weighted neurons that compute and train like the original.

The public names are listed in `__all__`; each is imported when it is first used, so that
`import jlab_compress` stays quick and pulls in neither ONNX nor IPython.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jlab_compress.core.cells import compress_cloud
    from jlab_compress.core.cloud import Cloud, merge_clouds
    from jlab_compress.core.recombination import Recombination, recombine
    from jlab_compress.data.dataset import WeightedDataset, compress_dataset
    from jlab_compress.deployment.exportreport import ExportReport
    from jlab_compress.deployment.onnx import export_onnx
    from jlab_compress.deployment.program import export_program
    from jlab_compress.deployment.repository import export_repository
    from jlab_compress.deployment.trial import ServedComparison, serve_and_compare
    from jlab_compress.errors import ExportMismatchError, RecombinationError, UnsupportedBlockError
    from jlab_compress.network.allocation import allocate_widths
    from jlab_compress.network.blocks import Block, find_blocks
    from jlab_compress.network.compression import Compression, compress, sweep
    from jlab_compress.network.gradients import add_gradient_noise_, clip_grad_norm_, squared_norm
    from jlab_compress.network.optimizers import transfer_optimizer
    from jlab_compress.network.rates import adam_rate_factors, scale_rates
    from jlab_compress.network.slim import fold, plan_of
    from jlab_compress.network.storage import load, save
    from jlab_compress.notebook.panel import panel
    from jlab_compress.validation.training import Validation, validate

_HOME = {
    "Block": "network.blocks",
    "Cloud": "core.cloud",
    "Compression": "network.compression",
    "ExportMismatchError": "errors",
    "ExportReport": "deployment.exportreport",
    "Recombination": "core.recombination",
    "RecombinationError": "errors",
    "ServedComparison": "deployment.trial",
    "UnsupportedBlockError": "errors",
    "Validation": "validation.training",
    "WeightedDataset": "data.dataset",
    "adam_rate_factors": "network.rates",
    "add_gradient_noise_": "network.gradients",
    "allocate_widths": "network.allocation",
    "clip_grad_norm_": "network.gradients",
    "compress": "network.compression",
    "compress_cloud": "core.cells",
    "compress_dataset": "data.dataset",
    "export_onnx": "deployment.onnx",
    "export_program": "deployment.program",
    "export_repository": "deployment.repository",
    "find_blocks": "network.blocks",
    "fold": "network.slim",
    "load": "network.storage",
    "merge_clouds": "core.cloud",
    "panel": "notebook.panel",
    "plan_of": "network.slim",
    "recombine": "core.recombination",
    "save": "network.storage",
    "scale_rates": "network.rates",
    "serve_and_compare": "deployment.trial",
    "squared_norm": "network.gradients",
    "sweep": "network.compression",
    "transfer_optimizer": "network.optimizers",
    "validate": "validation.training",
}

__all__ = [
    "Block",
    "Cloud",
    "Compression",
    "ExportMismatchError",
    "ExportReport",
    "Recombination",
    "RecombinationError",
    "ServedComparison",
    "UnsupportedBlockError",
    "Validation",
    "WeightedDataset",
    "adam_rate_factors",
    "add_gradient_noise_",
    "allocate_widths",
    "clip_grad_norm_",
    "compress",
    "compress_cloud",
    "compress_dataset",
    "export_onnx",
    "export_program",
    "export_repository",
    "find_blocks",
    "fold",
    "load",
    "merge_clouds",
    "panel",
    "plan_of",
    "recombine",
    "save",
    "scale_rates",
    "serve_and_compare",
    "squared_norm",
    "sweep",
    "transfer_optimizer",
    "validate",
]

__version__ = metadata.version("jlab-compress")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jlab_compress' has no attribute {name!r}")
    value = getattr(import_module(f"jlab_compress.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Say where the built side panel lies; read by `jupyter-builder develop`."""
    return [{"src": "labextension", "dest": "jlab-compress"}]


def load_ipython_extension(shell: Any) -> None:
    """Register the magics and the side panel's channel: `%load_ext jlab_compress`."""
    from jlab_compress.notebook import extension

    extension.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take back what `load_ipython_extension` registered."""
    from jlab_compress.notebook import extension

    extension.unload(shell)
