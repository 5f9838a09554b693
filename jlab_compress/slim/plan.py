"""What was done to a model, in plain values that fit into JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from jlab_compress.slim.units import Located, Role, UnitAxis


@dataclass(frozen=True)
class BlockPlan(Located):
    """What was done to one block.

    Parameters
    ----------
    name, kind, units, activation_only
        As in `Block`.
    width_before, width_after : int
        Units.
    method : str
        How they were found.
    gauge : str
        "weighted" (multiplicities in the layers; stock layers where all c = 1), "plain" (sqrt(c) in the
        parameters of stock layers) or "folded" (c in the outgoing weights).
    indices : tuple of int or None
        Which of the original's units were kept, with their incoming weights untouched, unless a joint
        refinement by the name of `method` moved the layer for a neighbouring block; None where units moved or
        were merged with others that differ.
    multiplicities : tuple of float or None
        c of the units where no layer holds them any more (gauge "plain").
    """

    width_before: int
    width_after: int
    method: str
    gauge: str
    indices: tuple[int, ...] | None = None
    multiplicities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What was done to a model, block by block; plain values that fit into JSON.

    Parameters
    ----------
    blocks : tuple of BlockPlan
        In the order in which they run.
    preserve : str
        "dynamics", "function", "moments" or the name of a baseline.
    seed : int
        The seed of the fits.
    """

    blocks: tuple[BlockPlan, ...]
    preserve: str = "dynamics"
    seed: int = 0

    def to_json(self) -> str:
        """Return the plan as JSON with sorted keys."""
        blocks = [asdict(block) for block in self.blocks]
        for block in blocks:
            del block["operators"]
        return json.dumps({"blocks": blocks, "preserve": self.preserve, "seed": self.seed}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` wrote, or an earlier version of it.

        Raises
        ------
        ValueError
            If the text is not a plan: every field is held to its type and range.

        Notes
        -----
        Earlier versions named the layers of a block, not the axes of its units. Such a plan names the layers
        here, with the axes of linear layers; `load`, which knows the model, has the true ones.
        """
        try:
            data = _checked(json.loads(text), _PLAN, "the plan")
            return cls(tuple(map(_read, data["blocks"])), data["preserve"], data["seed"])
        except RecursionError:
            fault = "it is nested too deeply"
        except ValueError as error:
            fault = str(error)
        raise ValueError(f"plan: expected JSON written by Plan.to_json ({fault}); save the model again")


LONGEST = 2**31  # no axis is as long
_Field = tuple[str, Callable[[Any], bool]]


def _whole(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value < LONGEST


def _either(field: _Field) -> _Field:
    return f"{field[0]} or null", lambda value: value is None or field[1](value)


def _each(field: _Field) -> _Field:
    return f"a list of {field[0]}", lambda value: type(value) is list and all(map(field[1], value))


_TEXT: _Field = "text", lambda value: type(value) is str
_FLAG: _Field = "true or false", lambda value: type(value) is bool
_COUNT: _Field = "whole numbers from 1", lambda value: _whole(value, 1)
_PLACE: _Field = "whole numbers from 0", _whole
_POSITIVE: _Field = (
    "positive numbers",
    lambda value: type(value) in (int, float) and 0 < value < math.inf,
)
_OBJECT: _Field = "objects", lambda value: type(value) is dict

# What each object of a plan must hold; fields that may be null may be left out.
_PLAN = {"blocks": _each(_OBJECT), "preserve": _TEXT, "seed": ("a whole number", lambda s: type(s) is int)}
_UNIT = {
    "module": _TEXT,
    "tensor": _TEXT,
    "axis": _PLACE,
    "role": ("makes, treats or reads", lambda value: value in get_args(Role)),
    "sections": _COUNT,
    "each": _COUNT,
}
_DONE = {
    "name": _TEXT,
    "kind": _TEXT,
    "width_before": _COUNT,
    "width_after": _COUNT,
    "method": _TEXT,
    "gauge": ("weighted, plain or folded", lambda value: value in ("weighted", "plain", "folded")),
    "indices": _either(_each(_PLACE)),
    "multiplicities": _either(_each(_POSITIVE)),
}
_BLOCK = {**_DONE, "units": _each(_OBJECT), "activation_only": _FLAG}
_FIRST_BLOCK = {
    **_DONE,
    "incoming": _each(_TEXT),
    "outgoing": _TEXT,
    "norm": _either(_TEXT),
    "repeat": _either(_COUNT),
    "sections": _either(_each(_COUNT)),
    "chain": _either(_each(_TEXT)),
}


def _checked(values: object, fields: Mapping[str, _Field], what: str) -> dict[str, Any]:
    """Return an object of the JSON with all its fields, if they are as they must be."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no object")
    unexpected = [name for name in values if name not in fields]
    if unexpected:
        raise ValueError(f"{what} has the unexpected field {unexpected[0][:40]!r}")
    for name, (expected, fits) in fields.items():
        if not fits(values.get(name)):
            raise ValueError(f"{what}: expected {name} to be {expected}")
    return {name: values.get(name) for name in fields}


def _read(block: Mapping[str, Any]) -> BlockPlan:
    first = "units" not in block
    values = _checked(block, _FIRST_BLOCK if first else _BLOCK, "a block")
    before, after = values["width_before"], values["width_after"]
    if after > before:
        raise ValueError(f"a block became wider, from {before} to {after} units")
    for name in ("indices", "multiplicities"):
        if values[name] is not None and len(values[name]) != after:
            raise ValueError(f"a block of {after} units has {len(values[name])} {name}")
    if any(index >= before for index in values["indices"] or ()):
        raise ValueError(f"a block of {before} units has an index beyond them")
    units = (
        _named(values) if first else tuple(UnitAxis(**_checked(u, _UNIT, "a unit")) for u in values["units"])
    )
    if not {"makes", "reads"} <= {unit.role for unit in units}:
        raise ValueError("a block names no layer that makes its units, or none that reads them")
    done: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in _DONE
    }
    runs = values["kind"] == "attention" or bool(values["chain"]) if first else values["activation_only"]
    return BlockPlan(**done, units=units, activation_only=runs)


def _named(block: Mapping[str, Any]) -> tuple[UnitAxis, ...]:
    """Return the axes of a block by the names of its layers, as if these were linear ones."""
    makers, norm = block["incoming"], [] if block["norm"] is None else [block["norm"]]
    sections = block["sections"] or [1] * len(makers)
    if len(sections) != len(makers):
        raise ValueError(f"a block has {len(makers)} incoming layers and sections for {len(sections)}")
    return (
        *(UnitAxis(name, "weight", 0, sections=s) for name, s in zip(makers, sections, strict=True)),
        *(UnitAxis(name, "weight", 0, "treats") for name in (*norm, *(block["chain"] or ()))),
        UnitAxis(block["outgoing"], "weight", 1, "reads", each=block["repeat"] or 1),
    )
