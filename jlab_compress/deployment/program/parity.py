"""How far a written model's answers are from a module's, at several sizes, and what rounding may explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jlab_compress.deployment.program.axes import BATCH
from jlab_compress.deployment.program.signature import (
    Arrays,
    Feeds,
    Signature,
    as_numpy,
)
from jlab_compress.errors import ExportMismatchError, raise_lack_of_memory
from jlab_compress.execution.isolation import copy_model, inference

BATCHES = (1, 2, 7, 64)
ROUNDINGS = 4  # two runtimes that sum in other orders differ by about the sum of their own errors


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs are from the module's for one set of input sizes.

    Parameters
    ----------
    case : str
        The sizes, for example "batch 7, sequence 12".
    max_abs_diff : float or None
        Largest difference of one value, over all outputs; None where the module refuses this size itself.
    max_rel_diff : float or None
        The same, relative to the largest magnitude in that output.
    gap : float or None
        ||file - module|| / ||module||, the largest over the outputs.
    """

    case: str
    max_abs_diff: float | None
    max_rel_diff: float | None
    gap: float | None


def cases(signature: Signature) -> Iterator[tuple[str, Signature]]:
    """Yield the sizes to compare at: four batches, four sizes of each other axis, a padded batch."""
    for batch in BATCHES:
        yield _sized(signature, **{BATCH: batch})
    for axis, size in signature.sizes.items():
        if axis != BATCH:
            for other in sorted({1, 2, size // 2 + 1, 2 * size + 1}):
                yield _sized(signature, **{BATCH: 2, axis: other})
    padded = signature.padded()
    if padded is not None:
        yield "padding mask", padded


def _sized(signature: Signature, **sizes: int) -> tuple[str, Signature]:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items()), signature.resized(**sizes)


def compare(ask: Callable[[Feeds], Arrays], reference: nn.Module, case: str, signature: Signature) -> Parity:
    """Compare what something answers with a module's outputs for one set of input sizes.

    Parameters
    ----------
    ask : callable
        Gives outputs by name for inputs by name.
    reference : nn.Module
        On the CPU, in eval mode.
    case : str
        Names the sizes.
    signature : Signature
        The inputs.

    Returns
    -------
    Parity
        With None where the module itself refuses the size; `ask` is not called then.

    Raises
    ------
    ExportMismatchError
        If the answer has other shapes, or is finite in other places.
    """
    try:
        expected = run_module(reference, signature)
    except Exception as error:
        raise_lack_of_memory(error)
        return Parity(f"{case} (the model refuses this size)", None, None, None)
    found = ask(signature.feeds())
    gaps = [_difference(name, case, expected[name], found[name]) for name in expected]
    return Parity(case, *(max(column) for column in zip(*gaps, strict=True)))


def check_parity(
    name: str,
    parity: tuple[Parity, ...],
    reference: nn.Module,
    signature: Signature,
    tolerance: float,
) -> None:
    """Refuse an output that is off as a whole, or a value that is off by more than rounding explains.

    At every size each output may be off by `tolerance` of its norm, and each value by `tolerance` of the
    largest one, or by four times the module's own distance from float64 where that is larger.

    Raises
    ------
    ExportMismatchError
        With the first size at which it is not so.
    """
    sized = dict(cases(signature))
    for entry in parity:
        if entry.gap is None or entry.max_rel_diff is None:
            continue
        faults = [] if entry.gap <= tolerance else [f"{entry.gap:.2e} of the outputs' norm"]
        own = 0.0
        if faults or not entry.max_rel_diff <= tolerance:
            own = max(_rounding(reference, sized[c]) for c in {entry.case, f"batch {BATCHES[-1]}"})
        if not entry.max_rel_diff <= max(tolerance, ROUNDINGS * own):
            faults.append(f"{entry.max_rel_diff:.2e} of the largest output")
        if faults:
            raise ExportMismatchError(
                f"{name}: at {entry.case} it is {' and '.join(faults)} off, expected at most {tolerance:.0e} "
                f"(the model is itself {own:.0e} off from float64); the file was not written"
            )


def _rounding(reference: nn.Module, signature: Signature) -> float:
    """Return how far a module is from its float64 copy, or 0 where it does not run in float64."""
    wide = replace(
        signature,
        tensors={n: t.double() if t.is_floating_point() else t for n, t in signature.tensors.items()},
    )
    try:
        exact = run_module(copy_model(reference).double(), wide)
    except Exception as error:
        raise_lack_of_memory(error)
        return 0.0
    found = run_module(reference, signature)
    return max(_difference(name, "float64", exact[name], found[name])[1] for name in exact)


def run_module(module: nn.Module, signature: Signature) -> Arrays:
    """Return a module's outputs by name, without gradients and off the fused attention path."""
    with inference():
        return as_numpy(signature.outputs(signature.call(module)))


def _difference(
    name: str, case: str, expected: NDArray[Any], found: NDArray[Any]
) -> tuple[float, float, float]:
    if expected.shape != found.shape:
        raise ExportMismatchError(
            f"output {name!r} at {case}: expected shape {expected.shape}, got {found.shape}"
        )
    wide = np.complex128 if np.iscomplexobj(expected) or np.iscomplexobj(found) else np.float64
    a, b = expected.astype(wide), found.astype(wide)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        raise ExportMismatchError(f"output {name!r} at {case}: it is finite in other places than the model's")
    if not finite.any():
        return 0.0, 0.0, 0.0
    far = np.abs(a - b)[finite]
    scale, norm = float(np.abs(a[finite]).max()) or 1.0, float(np.linalg.norm(a[finite])) or 1.0
    return float(far.max()), float(far.max()) / scale, float(np.linalg.norm(far)) / norm
