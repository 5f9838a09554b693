"""What the in-cell panel may ask of Python: actions of the table on named values, nothing evaluated.

A request comes from a page and is not trusted: names are looked up in the panel's own values, plain values
are checked here for their type and by the public functions for their range, a file name has no folder in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import FunctionType
from typing import Any

import torch
from torch import nn

from jlab_compress.notebook.actions import ACTIONS, BATCH_ROWS, EXAMPLE_ROWS, LOSSES, OPTIMIZERS
from jlab_compress.notebook.fields import Action, Field
from jlab_compress.notebook.kernel.prepared_cache import carry_out

# Actions that a button starts; the panel itself is one of the others.
BUTTONS = tuple(name for name in ACTIONS if name != "panel")
PLAIN: Mapping[str, tuple[type, ...]] = {
    "widths": (dict,),
    "grid": (list,),
    "names": (list,),
    "choice": (str,),
    "text": (str,),
    "flag": (bool,),
    "count": (int,),
    "number": (int, float),
}
Step = Callable[[str, int, int], None]


def results_of(
    action: Action, model: str, fields: Mapping[str, Any], values: Mapping[str, Any], step: Step
) -> dict[str, Any]:
    """Return what an action makes, under the names that a cell of the side panel would give it.

    Parameters
    ----------
    action : Action
        A row of the table.
    model : str
        The name of the model that results are called after.
    fields : mapping of str to JSON value
        By parameter; those with a default may be left out.
    values : mapping of str to object
        What names stand for.
    step : callable
        Told how far a long fit is.

    Raises
    ------
    ValueError
        If a field is missing, unknown, of another type, or names what is not there; and as the public
        function.
    """
    check_fields(action, fields)
    read = {name: read_value(action.fields[name], value, values) for name, value in fields.items()}
    if action.name == "run":
        read["progress"] = step
    if "name" in action.fields:
        read.setdefault("name", model)
    made = carry_out(action, read)
    slim = {f"{model}_slim": made.model} if action.name == "run" else {}
    return {f"{model}_{action.makes}": made, **slim}


def check_fields(action: Action, fields: Mapping[str, Any]) -> None:
    """Refuse a request with fields that the action does not have, or without one that it needs."""
    needed = {field.name for field in action.fields.values() if field.required}
    if not needed <= set(fields) <= set(action.fields):
        optional = sorted(set(action.fields) - needed)
        raise ValueError(
            f"'{action.name}' takes {', '.join(sorted(needed))} and may take {', '.join(optional)}; "
            f"got {', '.join(sorted(map(str, fields)))[:200]}"
        )


def read_value(field: Field, value: Any, values: Mapping[str, Any]) -> Any:
    """Return what a page sent for a field as the value that the public function takes.

    Raises
    ------
    ValueError
        If it is of another type, or names what is not there.
    """
    match field.kind:
        case "model":
            return model_of(field.name, value, values)
        case "calibration" | "data":
            return data_of(value, values)
        case "example":
            return data_of(value, values)[:EXAMPLE_ROWS]
        case "batches":
            return data_of(value, values, batch=BATCH_ROWS)
        case "loss":
            return loss_of(value, values)
        case "optimizer" if isinstance(value, str) and value in OPTIMIZERS:
            return getattr(torch.optim, value)
        case "path":
            return path_of(value)
    expected = PLAIN.get(field.kind, ())
    if type(value) not in expected:
        words = " or ".join(kind.__name__ for kind in expected) or f"one of {', '.join(OPTIMIZERS)}"
        raise ValueError(f"{field.name}: expected {words}, got {str(value)[:100]!r}")
    return value


def model_of(field: str, name: Any, values: Mapping[str, Any]) -> nn.Module:
    """Return the module of a name.

    Raises
    ------
    ValueError
        If there is no module of that name.
    """
    model: Any = values.get(name) if isinstance(name, str) else None
    if not issubclass(type(model), nn.Module):
        raise ValueError(f"{field}: the panel knows no model named {str(name)[:100]!r}")
    return model  # type: ignore[no-any-return]


def loss_of(name: Any, values: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a stock loss, or a loss module or plain function of the notebook; nothing else is called.

    Raises
    ------
    ValueError
        If the name stands for anything else.
    """
    if isinstance(name, str) and name in LOSSES:
        return getattr(nn.functional, name)  # type: ignore[no-any-return]
    loss: Any = values.get(name) if isinstance(name, str) else None
    if issubclass(type(loss), nn.Module) or type(loss) is FunctionType:
        return loss  # type: ignore[no-any-return]
    raise ValueError(f"loss: the panel knows no loss named {str(name)[:100]!r}")


def path_of(path: Any) -> str:
    """Return a file's or folder's name beside the notebook.

    Raises
    ------
    ValueError
        If it is no plain name: with a folder, hidden, or with characters that are not shown.
    """
    plain = isinstance(path, str) and PurePath(path).name == path and "\\" not in path and path.isprintable()
    if not plain or path in ("", "..") or path.startswith("."):
        raise ValueError(
            f"path: expected a name without folders that is not hidden, got {str(path)[:100]!r}; move it "
            "afterwards"
        )
    return str(path)


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
