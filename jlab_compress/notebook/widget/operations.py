"""What the in-cell panel may ask of Python: six named operations on named values, nothing evaluated.

A request comes from a page and is not trusted: names are looked up in the panel's own values, numbers are
checked by the public functions, a file name has no folder in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import FunctionType
from typing import Any

import torch
from torch import nn

import jlab_compress

LOSSES = ("cross_entropy", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits")
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
BATCH = 64
CALIBRATED = " calibrated"
Step = Callable[[str, int, int], None]


def compress(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return the compression and the slim model under the names that the side panel would give them."""
    name, model = named_model(fields, "model", values)
    made = jlab_compress.compress(
        model,
        dict(fields["widths"]),
        calibration=data_of(fields["calibration"], values),
        preserve=fields["preserve"],
        progress=step,
    )
    return {f"{name}_compression": made, f"{name}_slim": made.model}


def forecast(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return the errors that the chosen blocks would have at several widths."""
    name, model = named_model(fields, "model", values)
    calibration = data_of(fields["calibration"], values)
    return {f"{name}_sweep": jlab_compress.sweep(model, list(fields["widths"]), calibration=calibration)}


def share(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return widths for the named blocks under a share of the model's parameters."""
    name, model = named_model(fields, "model", values)
    made = jlab_compress.allocate_widths(
        model,
        calibration=data_of(fields["calibration"], values),
        parameters=float(fields["parameters"]),
        blocks=list(fields["blocks"]),
    )
    return {f"{name}_widths": made}


def validate(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return what training both models side by side shows."""
    name, model = named_model(fields, "model", values)
    _, slim = named_model(fields, "slim", values)
    optimizer, rate = OPTIMIZERS[fields["optimizer"]], float(fields["rate"])
    made = jlab_compress.validate(
        model,
        slim,
        data_of(fields["batches"], values, batch=BATCH),
        loss_of(fields["loss"], values),
        optimizer=lambda parameters: optimizer(parameters, lr=rate),
        steps=int(fields["steps"]),
        held_out=data_of(fields["held_out"], values) if fields["held_out"] else None,
    )
    return {f"{name}_validation": made}


def export(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Write the slim model beside the notebook and return the report on it."""
    name, slim, path, options = written(fields, values)
    example, target = data_of(fields["example"], values)[:8], fields["target"]
    if target == "pt2":
        made: Any = jlab_compress.export_program(slim, path, example, overwrite=bool(fields["replace"]))
    elif target == "onnx":
        made = jlab_compress.export_onnx(slim, path, example, overwrite=bool(fields["replace"]), **options)
    else:
        made = jlab_compress.export_repository(
            slim, path, name, example, layout=target, version="next", **options
        )
    return {f"{name}_export": made}


def serve(fields: Mapping[str, Any], values: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Write a repository beside the notebook, serve it for a moment and return what the server answered."""
    name, slim, path, options = written(fields, values)
    example, layout = data_of(fields["example"], values)[:8], fields["target"]
    made = jlab_compress.serve_and_compare(slim, example, directory=path, name=name, layout=layout, **options)
    return {f"{name}_served": made}


WRITTEN = frozenset({"model", "slim", "example", "target", "precision", "path", "replace"})
COMMANDS: dict[str, tuple[frozenset[str], Callable[..., dict[str, Any]]]] = {
    "compress": (frozenset({"model", "widths", "calibration", "preserve"}), compress),
    "forecast": (frozenset({"model", "widths", "calibration", "preserve"}), forecast),
    "share": (frozenset({"model", "calibration", "parameters", "blocks"}), share),
    "validate": (
        frozenset({"model", "slim", "batches", "loss", "optimizer", "rate", "steps", "held_out"}),
        validate,
    ),
    "export": (WRITTEN, export),
    "serve": (WRITTEN, serve),
}


def named_model(fields: Mapping[str, Any], field: str, values: Mapping[str, Any]) -> tuple[str, nn.Module]:
    """Return the name and the module that a field names.

    Raises
    ------
    ValueError
        If there is no module of that name.
    """
    name = fields[field]
    model = values.get(name) if isinstance(name, str) else None
    if not isinstance(model, nn.Module):
        raise ValueError(f"{field}: the panel knows no model named {str(name)[:100]!r}")
    return str(name), model


def loss_of(name: Any, values: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a stock loss, or a loss module or plain function of the notebook; nothing else is called.

    Raises
    ------
    ValueError
        If the name stands for anything else.
    """
    if isinstance(name, str) and name in LOSSES:
        return getattr(nn.functional, name)  # type: ignore[no-any-return]
    loss = values.get(name) if isinstance(name, str) else None
    if isinstance(loss, nn.Module | FunctionType):
        return loss
    raise ValueError(f"loss: the panel knows no loss named {str(name)[:100]!r}")


def written(
    fields: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[str, nn.Module, str, dict[str, Any]]:
    """Return what a form says about a file or folder: model name, slim model, path, and how precise.

    Raises
    ------
    ValueError
        If a name is not known, or the path is no plain name.
    """
    name, model = named_model(fields, "model", values)
    _, slim = named_model(fields, "slim", values)
    path, precision = fields["path"], str(fields["precision"])
    if not isinstance(path, str) or PurePath(path).name != path or "\\" in path or path in ("", ".", ".."):
        raise ValueError(f"path: expected a name without folders, got {path!r}; move it afterwards")
    options: dict[str, Any] = {
        "original": None if model is slim else model,
        "precision": precision.removesuffix(CALIBRATED),
    }
    if precision.endswith(CALIBRATED):
        options["calibration"] = data_of(fields["example"], values)
    return name, slim, path, options


def data_of(name: Any, values: Mapping[str, Any], *, batch: int | None = None) -> Any:
    """Return the value of a name, or the pair of values of two names with a comma between them.

    Parameters
    ----------
    name : str
        "x_train", or "x_train, y_train".
    values : mapping of str to object
        What the panel knows.
    batch : int, optional
        Cut a pair into batches of so many rows.

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> data_of("x, y", {"x": 1, "y": 2})
    (1, 2)
    """
    words = [word.strip() for word in name.split(",")] if isinstance(name, str) else []
    if not 1 <= len(words) <= 2 or any(word not in values for word in words):
        raise ValueError(f"the panel knows no data named {str(name)[:100]!r}")
    found = [values[word] for word in words]
    if len(found) == 1:
        return found[0]
    return tuple(found) if batch is None else list(zip(*(part.split(batch) for part in found), strict=True))
