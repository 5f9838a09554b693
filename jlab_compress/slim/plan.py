"""What was done to a model, in plain values that fit into JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jlab_compress.slim.units import Located, UnitAxis


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
            If the text is not a plan.

        Notes
        -----
        Earlier versions named the layers of a block, not the axes of its units. Such a plan names the layers
        here, with the axes of linear layers; `load`, which knows the model, has the true ones.
        """
        try:
            data = json.loads(text)
            return cls(tuple(_read(block) for block in data["blocks"]), data["preserve"], data["seed"])
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"plan: expected JSON written by Plan.to_json ({error})") from error


def _read(block: Mapping[str, Any]) -> BlockPlan:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in block.items()}
    if "units" in values:
        values["units"] = tuple(UnitAxis(**unit) for unit in values["units"])
    else:
        values["units"] = _named(values)
        values["activation_only"] = values["kind"] == "attention" or bool(values.get("chain"))
        for key in ("incoming", "outgoing", "norm", "repeat", "sections", "chain"):
            values.pop(key, None)
    return BlockPlan(**values)


def _named(block: Mapping[str, Any]) -> tuple[UnitAxis, ...]:
    """Return the axes of a block by the names of its layers, as if these were linear ones."""
    makers, chain = block["incoming"], block.get("chain", ())
    sections = block.get("sections") or (1,) * len(makers)
    norm = () if block.get("norm") is None else (block["norm"],)
    return (
        *(UnitAxis(name, "weight", 0, sections=s) for name, s in zip(makers, sections, strict=True)),
        *(UnitAxis(name, "weight", 0, "treats") for name in (*norm, *chain)),
        UnitAxis(block["outgoing"], "weight", 1, "reads", each=block.get("repeat", 1)),
    )
