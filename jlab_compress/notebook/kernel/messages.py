"""What the kernel tells the front end about a survey: plain JSON, bounded, free of user code.

The shape of every message is fixed by `labextension/fixtures/messages.json`, which the tests of
both sides read.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from jlab_compress.notebook.kernel.block_cache import known_blocks
from jlab_compress.notebook.kernel.namespace import WIDTHS, Survey, Value
from jlab_compress.notebook.kernel.structure import Structure, attributes_of, class_name, module_at

PROTOCOL = 1
TEXT_CAP = 1000
REPORT_CAP = 200_000
ROW_CAP = 5000
WRAPPERS = ("DataParallel", "DistributedDataParallel")


class Digest:
    """Turn surveys into messages.

    Parameters
    ----------
    version : str
        Version of the package, so that a front end can say that the other side is too old.

    Notes
    -----
    Finding blocks runs a copy of the model, so it never happens unasked after a cell: a state holds
    the blocks that are known, and `None` for a model that has not been asked for in its present shape.

    Examples
    --------
    >>> import torch
    >>> from jlab_compress.notebook.kernel.namespace import survey
    >>> state = Digest("1.0").state(survey({"x": torch.ones(2, 3)}))
    >>> state["type"], state["values"]
    ('state', [{'name': 'x', 'kind': 'tensor', 'shape': [2, 3], 'dtype': 'float32'}])
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self._arrivals: dict[tuple[str, int], int] = {}

    def state(self, survey: Survey) -> dict[str, Any]:
        """Return the whole state, with the blocks that are known, up to a number of rows."""
        rows, complete = ROW_CAP, survey.complete
        models, results = [], []
        given = {name: blocks for name, kind, blocks in survey.results if kind == "blocks"}
        widths = dict(survey.widths)
        for name, model, structure in survey.models:
            try:
                found = given.get(f"{name}_blocks")
                known = block_rows(known_blocks(model)) if found is None else _given_rows(model, found)
                rows -= len(known or ())
                row = _model_row(name, model, structure, known if rows >= 0 else None)
                found_widths = _given_widths(row["blocks"], widths.get(f"{name}{WIDTHS}"))
                models.append({**row, "widths": found_widths})
            except (
                Exception
            ):  # blocks or a plan that somebody else wrote; the other models are told all the same
                complete = False
        for name, kind, result in self._by_age(survey):
            try:
                results.append(_result_row(name, kind, result, survey))
            except Exception:  # a report that somebody else wrote
                complete = False
        content = {
            "torch": survey.torch,
            "complete": complete,
            "models": models,
            "values": [_value_row(name, value) for name, value in survey.values],
            "results": results,
        }
        mark = blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()
        return {"type": "state", "protocol": PROTOCOL, "version": self.version, "hash": mark, **content}

    def _by_age(self, survey: Survey) -> list[tuple[str, str, Any]]:
        """Return the results, the newest last: a name that is given again keeps its place in a namespace."""
        found = {(name, id(it)): (name, kind, it) for name, kind, it in survey.results if kind != "blocks"}
        latest = max(self._arrivals.values(), default=0)
        self._arrivals = {
            key: self._arrivals.get(key, latest + place) for place, key in enumerate(found, start=1)
        }
        return [found[key] for key in sorted(found, key=self._arrivals.__getitem__)]


def _model_row(
    name: str, model: Any, structure: Structure, blocks: list[dict[str, Any]] | None
) -> dict[str, Any]:
    return {
        "name": name,
        "class": cut(class_name(type(model)), 200),
        "id": f"{id(model):x}",
        "parameters": structure.parameters,
        "bytes": structure.bytes,
        "modules": structure.modules,
        "devices": sorted(str(device) for device in structure.devices),
        "dtypes": sorted(str(dtype).removeprefix("torch.") for dtype in structure.dtypes),
        "training": structure.training,
        "lazy": structure.lazy,
        "heavy": structure.large,
        "slim": _slim_rows(model),
        "blocks": blocks,
    }


def block_rows(found: Any) -> list[dict[str, Any]] | None:
    """Return the rows of the blocks of a model, or one locked row that says why they cannot be read."""
    if isinstance(found, str):
        return [_unreadable(found)]
    return None if found is None else _rows_of(found)


def _given_rows(model: Any, blocks: Any) -> list[dict[str, Any]] | None:
    """Return the rows of blocks that a cell has found, or None if they are not this model's."""
    return _rows_of(blocks) if all(module_at(model, block.name) is not None for block in blocks) else None


def _given_widths(blocks: list[dict[str, Any]] | None, widths: dict[str, int] | None) -> Any:
    """Return the widths that a cell has found, or None if they are not of this model's blocks."""
    known = {row["name"]: row["width"] for row in blocks or () if row["locked"] is None}
    fitting = bool(widths) and all(1 <= width <= known.get(name, 0) for name, width in (widths or {}).items())
    return widths if fitting else None


def _rows_of(blocks: Any) -> list[dict[str, Any]]:
    from jlab_compress.compression.widths.values import read_widths

    polylog = read_widths("polylog", blocks) if blocks.by_default else {}
    return [_block_row(block, polylog.get(block.name)) for block in blocks][:ROW_CAP]


def _block_row(block: Any, polylog: int | None) -> dict[str, Any]:
    from jlab_compress.inspection.unrecorded import NOT_RUN

    locked = block.locked
    if len(block.name) > TEXT_CAP:
        locked = f"its name has {len(block.name):,} characters; rename the layer to use it from the panel"
    return {
        "name": cut(block.name, TEXT_CAP),
        "kind": cut(block.kind, 40),
        "unit": block.noun,
        "width": block.width,
        "dimension": block.dimension,
        "parameters": block.parameters,
        "macs": block.macs,
        "polylog": polylog,
        "locked": None if locked is None else cut(locked, TEXT_CAP),
        "needs_input": block.locked == NOT_RUN,
    }


def _unreadable(fault: str) -> dict[str, Any]:
    reason = cut(f"the blocks of this model could not be read: {fault}", TEXT_CAP)
    return {
        "name": "",
        "kind": "model",
        "unit": "neurons",
        "width": 0,
        "dimension": 0,
        "parameters": 0,
        "macs": None,
        "polylog": None,
        "locked": reason,
        "needs_input": False,
    }


def _slim_rows(model: Any) -> list[dict[str, Any]] | None:
    """Return name and widths of each block of a slim model; None for any other."""
    plan = _plan_in(model)
    if plan is None or not all(type(block.name) is str for block in plan.blocks):
        return None
    return [
        {
            "name": cut(block.name, TEXT_CAP),
            "width_before": block.width_before,
            "width_after": block.width_after,
            "method": block.method,
        }
        for block in plan.blocks[:ROW_CAP]
    ]


def _plan_in(model: Any) -> Any:
    """Return what `plan_of` does, or None, without asking the model's class."""
    from jlab_compress.slim.conversion import PLAN

    wrapped = class_name(type(model)) in WRAPPERS
    inner = module_at(model, "module" if wrapped else "_orig_mod")
    return attributes_of(model if inner is None else inner).get(PLAN)


def _value_row(name: str, value: Value) -> dict[str, Any]:
    return {"name": name, "kind": value.kind, "shape": list(value.shape), "dtype": value.dtype}


def _result_row(name: str, kind: str, result: Any, survey: Survey) -> dict[str, Any]:
    report = getattr(result, "report", result)
    text = report.to_json()
    content = json.loads(text)
    if len(text) > REPORT_CAP:
        content["tables"] = []
        content["notes"] = [*content["notes"], "The tables are too long for the panel; show them in a cell."]
    made = getattr(result, "model", None)
    model = next((label for label, candidate, _ in survey.models if candidate is made), None)
    return {"name": name, "kind": kind, "id": f"{id(result):x}", "model": model, "report": content}


def cut(text: str, cap: int) -> str:
    """Return a text that fits into a message: so long at most, and of characters that can be sent."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= cap else text[: cap - 1] + "…"
