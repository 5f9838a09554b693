"""The public names and where each is defined; whoever needs one by its name asks here.

`jlab_compress.compress` and a magic or a button that compresses are the same function by this table.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jlab_compress.extras import explained

HOMES = {
    "AIMS": "compression.fits.aims",
    "Aim": "compression.fits.aim",
    "Block": "inspection.block",
    "Cloud": "core.cloud",
    "Compression": "compression.pipeline",
    "Effort": "fitting.effort",
    "ExportMismatchError": "errors",
    "ExportReport": "deployment.onnx.export_report",
    "Kind": "inspection.kinds",
    "Operator": "slim.units",
    "Prepared": "compression.prepared",
    "Recombination": "core.recombination",
    "RecombinationError": "errors",
    "ServedComparison": "deployment.servers.comparison",
    "UnsupportedBlockError": "errors",
    "Validation": "validation.validate",
    "WeightedDataset": "data.dataset",
    "adam_rate_factors": "training.adam_rates",
    "add_gradient_noise_": "training.gradient_sums",
    "allocate_widths": "compression.budget.allocation",
    "clip_grad_norm_": "training.gradient_sums",
    "compress": "compression.compress",
    "compress_baseline": "compression.compress",
    "compress_cloud": "core.compress_cloud",
    "compress_dataset": "data.dataset",
    "export_onnx": "deployment.onnx.export",
    "export_program": "deployment.program.torch_program",
    "export_repository": "deployment.servers.repository",
    "find_blocks": "inspection.find",
    "fold": "slim.conversion",
    "last_interrupted": "compression.interrupted",
    "load": "slim.storage",
    "merge_clouds": "core.cloud",
    "panel": "notebook.widget.panel",
    "plan_of": "slim.conversion",
    "prepare": "compression.prepare",
    "recombine": "core.recombination",
    "save": "slim.storage",
    "save_pretrained": "deployment.program.huggingface",
    "scale_rates": "training.adam_rates",
    "serve_and_compare": "deployment.servers.comparison",
    "squared_norm": "training.gradient_sums",
    "sweep": "compression.widths.sweep",
    "transfer_optimizer": "training.optimizer_transfer",
    "validate": "validation.validate",
}


def public(name: str) -> Any:
    """Return what a public name stands for.

    Raises
    ------
    ImportError
        If it needs a package that is not installed: one sentence with the line to type.

    Examples
    --------
    >>> public("find_blocks").__name__
    'find_blocks'
    """
    try:
        home = import_module(f"jlab_compress.{HOMES[name]}")
    except ModuleNotFoundError as fault:
        raise explained(fault) from None
    return getattr(home, name)
