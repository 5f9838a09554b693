"""Shrink wide layers to few weighted neurons that compute and train like the original.

The public names are listed in `__all__`; each is imported when it is first used, so that
`import jlab_compress` stays quick and pulls in neither ONNX nor IPython.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from jlab_compress.extras import quiet
from jlab_compress.public import HOMES, public

if TYPE_CHECKING:
    from jlab_compress.compression.budget.allocation import allocate_widths
    from jlab_compress.compression.compress import compress, compress_baseline
    from jlab_compress.compression.fits.aim import Aim
    from jlab_compress.compression.fits.aims import AIMS
    from jlab_compress.compression.interrupted import last_interrupted
    from jlab_compress.compression.pipeline import Compression
    from jlab_compress.compression.prepare import prepare
    from jlab_compress.compression.prepared import Prepared
    from jlab_compress.compression.widths.sweep import sweep
    from jlab_compress.core.cloud import Cloud, merge_clouds
    from jlab_compress.core.compress_cloud import compress_cloud
    from jlab_compress.core.recombination import Recombination, recombine
    from jlab_compress.data.dataset import WeightedDataset, compress_dataset
    from jlab_compress.deployment.onnx.export import export_onnx
    from jlab_compress.deployment.onnx.export_report import ExportReport
    from jlab_compress.deployment.program.huggingface import save_pretrained
    from jlab_compress.deployment.program.torch_program import export_program
    from jlab_compress.deployment.servers.comparison import ServedComparison, serve_and_compare
    from jlab_compress.deployment.servers.repository import export_repository
    from jlab_compress.errors import ExportMismatchError, RecombinationError, UnsupportedBlockError
    from jlab_compress.fitting.effort import Effort
    from jlab_compress.inspection.block import Block
    from jlab_compress.inspection.find import find_blocks
    from jlab_compress.inspection.kinds import Kind
    from jlab_compress.notebook.widget.panel import panel
    from jlab_compress.slim.conversion import fold, plan_of
    from jlab_compress.slim.storage import load, save
    from jlab_compress.slim.units import Operator
    from jlab_compress.training.adam_rates import adam_rate_factors, scale_rates
    from jlab_compress.training.gradient_sums import add_gradient_noise_, clip_grad_norm_, squared_norm
    from jlab_compress.training.optimizer_transfer import transfer_optimizer
    from jlab_compress.validation.validate import Validation, validate

__all__ = [
    "AIMS",
    "Aim",
    "Block",
    "Cloud",
    "Compression",
    "Effort",
    "ExportMismatchError",
    "ExportReport",
    "Kind",
    "Operator",
    "Prepared",
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
    "compress_baseline",
    "compress_cloud",
    "compress_dataset",
    "export_onnx",
    "export_program",
    "export_repository",
    "find_blocks",
    "fold",
    "last_interrupted",
    "load",
    "merge_clouds",
    "panel",
    "plan_of",
    "prepare",
    "recombine",
    "save",
    "save_pretrained",
    "scale_rates",
    "serve_and_compare",
    "squared_norm",
    "sweep",
    "transfer_optimizer",
    "validate",
]

__version__ = metadata.version("jlab-compress")
quiet()


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'jlab_compress' has no attribute {name!r}")
    globals()[name] = public(name)
    return globals()[name]


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
