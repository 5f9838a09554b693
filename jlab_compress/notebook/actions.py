"""The one table of what a notebook can ask for; magics, the in-cell panel and the side panel come from it.

The front end reads it as `actions.json`, which this command writes anew::

    python -m jlab_compress.notebook.actions > labextension/src/python/actions.json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

from jlab_compress.deployment.onnx.form import PRECISIONS
from jlab_compress.deployment.targets import TARGETS
from jlab_compress.fitting.effort import EffortName
from jlab_compress.notebook.fields import Action, Choices, Field, Function, Says
from jlab_compress.public import public

SHARED = frozenset({"model", "calibration", "limit", "round_to", "effort", "seed"})
LOSSES = ("cross_entropy", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits")
OPTIMIZERS = ("SGD", "Adam", "AdamW")
BATCH_ROWS, EXAMPLE_ROWS = 64, 8  # that panels cut from named tensors
PRECISION_WORDS = {"float32": "float32, unchanged", "int8": "int8 weights"}


def within_budget(
    *, parameters: float | None = None, macs: float | None = None, latency: float | None = None, **given: Any
) -> Any:
    """Make a slim model; the original stays as it is.

    Parameters
    ----------
    parameters, macs, latency : float
        As in `allocate_widths`.
    **given
        As in `compress`.
    """
    if (parameters, macs, latency) != (None, None, None):
        given["widths"] = public("allocate_widths")(
            **{name: given[name] for name in SHARED & given.keys()},
            parameters=parameters,
            macs=macs,
            latency=latency,
        )
    return public("compress")(**given)


def at_rate(*, optimizer: Function, rate: float | None = None, **given: Any) -> Any:
    """Train copies of both models side by side; judge if they train alike.

    Parameters
    ----------
    optimizer : callable
        A class such as torch.optim.SGD, or a function of the parameters.
    rate : float
        Passed to the optimizer as lr.
    **given
        As in `validate`.
    """
    chosen = optimizer if rate is None else partial(optimizer, lr=rate)
    return public("validate")(optimizer=chosen, **given)


def write(*, path: str, target: str = "onnx", name: str = "model", **given: Any) -> Any:
    """Write a file or a folder for a server, and prove that it agrees.

    Parameters
    ----------
    path : str
        A file, or the folder of a server's models.
    target : str
        What is written, unless the path's ending says it.
    name : str
        The name under which a server offers the model.
    **given
        As in `export_onnx`.

    Raises
    ------
    ValueError
        If the target does not take what was given.
    """
    row = TARGETS[target]
    refused = given.keys() - row.options - {"slim", "example_inputs"}
    if refused:
        raise ValueError(f"{', '.join(sorted(refused))}: a {row.label} does not take this; leave it out")
    return public(row.function)(**row.place(path, name), **given)


def _aims() -> Choices:
    return {name: aim.label for name, aim in public("AIMS").items()}


def _efforts() -> Choices:
    return {effort: effort for effort in get_args(EffortName)}


def _targets() -> Choices:
    return {name: target.label for name, target in TARGETS.items()}


def _layouts() -> Choices:
    return {name: target.label for name, target in TARGETS.items() if target.is_folder}


def _precisions() -> Choices:
    return {precision: PRECISION_WORDS.get(precision, precision) for precision in PRECISIONS}


def _losses() -> Choices:
    return {name: name.replace("_", " ") for name in LOSSES}


def _optimizers() -> Choices:
    return {name: name for name in OPTIMIZERS}


def _servers() -> Choices:
    return {server: server for target in TARGETS.values() for server in target.servers}


_DATA = Says("data")
_CALIBRATION = Says("calibration")
_AIM = Says("choice", choices=_aims)
_EFFORT = Says("choice", choices=_efforts)
_EXAMPLE = Says("example", option="inputs")
_RANGES = Says("data", of="export_onnx")
_PRECISION = Says("choice", choices=_precisions, of="export_onnx")

ACTIONS = {
    action.name: action
    for action in (
        Action("inspect", "find_blocks", "blocks", ("model", "example_inputs"), {"example_inputs": _EXAMPLE}),
        Action(
            "run",
            "compress",
            "compression",
            ("model", "widths", "calibration"),
            {"widths": Says("widths"), "calibration": _CALIBRATION, "preserve": _AIM, "effort": _EFFORT},
            within_budget,
        ),
        Action(
            "sweep",
            "sweep",
            "sweep",
            ("model", "widths", "calibration"),
            {"widths": Says("grid"), "calibration": _CALIBRATION, "preserve": _AIM, "effort": _EFFORT},
        ),
        Action(
            "allocate",
            "allocate_widths",
            "widths",
            ("model", "calibration"),
            {"calibration": _CALIBRATION, "blocks": Says("names"), "effort": _EFFORT},
        ),
        Action(
            "validate",
            "validate",
            "validation",
            ("original", "slim", "batches", "loss_fn"),
            {
                "batches": Says("batches"),
                "loss_fn": Says("loss", option="loss", choices=_losses),
                "optimizer": Says("optimizer", choices=_optimizers),
                "held_out": _DATA,
                "metric": Says("loss"),
                "effort": _EFFORT,
            },
            at_rate,
        ),
        Action(
            "export",
            "export_onnx",
            "export",
            ("slim", "path", "example_inputs"),
            {
                "example_inputs": _EXAMPLE,
                "precision": _PRECISION,
                "calibration": _RANGES,
                "path": Says("path"),
                "target": Says("choice", option="layout", choices=_targets),
            },
            write,
        ),
        Action(
            "serve",
            "serve_and_compare",
            "served",
            ("slim", "directory", "example_inputs"),
            {
                "example_inputs": _EXAMPLE,
                "directory": Says("path", option="path"),
                "layout": Says("choice", choices=_layouts),
                "server": Says("choice", choices=_servers),
                "opset": Says("count", of="export_onnx"),
                "precision": _PRECISION,
                "calibration": _RANGES,
            },
        ),
        Action("panel", "panel", "panel", ("model", "calibration"), {"calibration": _DATA}),
    )
}


def exported() -> dict[str, Any]:
    """Return the table as plain JSON types, with the targets of an export and what is cut from tensors."""
    return {
        "actions": {
            action.name: {
                "function": action.function,
                "makes": action.makes,
                "fields": [_plain(field) for field in action.fields.values()],
            }
            for action in ACTIONS.values()
        },
        "targets": [
            {**asdict(target), "options": sorted(target.options), "folder": target.is_folder}
            for target in TARGETS.values()
        ],
        "rows": {"batch": BATCH_ROWS, "example": EXAMPLE_ROWS},
    }


def _plain(field: Field) -> dict[str, Any]:
    choices = [{"value": value, "label": label} for value, label in field.choices.items()]
    return {**asdict(field), "choices": choices}


if __name__ == "__main__":
    print(json.dumps(exported(), indent=2, ensure_ascii=False))
