"""A module as a program of `torch.export`, with the axes that vary spelled out, and why it cannot be one."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from jlab_compress.deployment.program.axes import BATCH
from jlab_compress.deployment.program.signature import Signature
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.isolation import inference
from jlab_compress.execution.randomness import random_states_kept
from jlab_compress.surroundings import as_called


def exported(model: nn.Module, signature: Signature) -> torch.export.ExportedProgram:
    """Return the program of a module in eval mode by `torch.export`, with the varying axes spelled out.

    Raises
    ------
    ValueError
        If the model cannot be exported; the message names the submodule and the cause.
    """
    _check_names(model)
    shapes = _dynamic_shapes(signature)
    with quiet_exporter(), inference(), as_called():
        try:
            return torch.export.export(model, signature.args, signature.kwargs, dynamic_shapes=shapes)
        except Exception as error:
            raise_lack_of_memory(error)
            raise ValueError(cause_of(model, error)) from error


def _check_names(model: nn.Module) -> None:
    """Refuse layer names that could end a string in the code that torch.export writes and runs."""
    for name, _ in model.named_modules():
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise ValueError(
                f"model: expected layer names without quotes, backslashes and line breaks, "
                f"got {name[:60]!r}; rename that layer, since the exporter writes names into code"
            )


def _dynamic_shapes(signature: Signature) -> dict[str, Any]:
    batch = torch.export.Dim(BATCH, min=1)
    shapes: dict[str, Any] = dict.fromkeys(signature.values)
    for name in signature.tensors:
        shapes[name] = {
            axis: batch if label == BATCH else torch.export.Dim.DYNAMIC
            for axis, label in signature.axes[name].items()
        }
    return shapes


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hold back the exporter's log lines and warnings, and keep the random state as it is."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            random_states_kept(()),
            contextlib.redirect_stderr(io.StringIO()),
            _folders_are_no_modules(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _folders_are_no_modules() -> Iterator[None]:
    """Keep torch from taking a repository folder called "triton" beside the notebook for the compiler."""
    found = sys.modules.get("triton") or importlib.util.find_spec("triton")
    place = getattr(found, "__file__", None) or getattr(found, "origin", None)
    if found is None or place is not None:
        yield
        return
    before = sys.modules.pop("triton", None)
    sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["triton"]
        if before is not None:
            sys.modules["triton"] = before


def cause_of(model: nn.Module, error: Exception) -> str:
    """Return in one sentence where and why a model cannot be exported."""
    place = _submodule(model, error)
    where = f"submodule {place[0]!r} ({place[1]})" if place else "the model"
    return f"model: {where} cannot be exported: {_fixed_axis(error) or in_words(error)}"


def _submodule(model: nn.Module, error: BaseException) -> tuple[str, str] | None:
    """Return the dotted path and class of the innermost submodule whose forward raised."""
    paths = {id(module): path for path, module in model.named_modules()}
    found = None
    trace_back = error.__traceback__
    while trace_back is not None:
        owner = trace_back.tb_frame.f_locals.get("self")
        if id(owner) in paths:
            found = (paths[id(owner)] or "the model itself", type(owner).__name__)
        trace_back = trace_back.tb_next
    if found is None and error.__cause__ is not None:
        return _submodule(model, error.__cause__)
    return found


def _fixed_axis(error: BaseException) -> str | None:
    """Return what the exporter says of an axis that was to vary and does not, in words."""
    words = r"You marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)"
    fixed = re.search(words, str(error))
    if fixed is None:
        return None
    axis = re.sub(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]", r"\2 of input \1", fixed[1])
    return f"its code fixes axis {axis} to {fixed[2]}; let it take any size, or do not name that axis"
