"""What was done to a model, in plain values that fit into JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class BlockPlan:
    """What was done to one block.

    Parameters
    ----------
    name, kind : str
        As in `Block`.
    incoming : tuple of str
        Dotted paths of the layers that make the hidden neurons.
    outgoing : str
        Dotted path of the layer that reads them.
    width_before, width_after : int
        Neurons.
    method : str
        How the neurons were found.
    gauge : str
        "weighted" (multiplicities in the layers; stock layers where all c = 1), "plain" (sqrt(c) in the
        parameters of stock layers) or "folded" (c in the outgoing weights).
    indices : tuple of int or None
        The kept neurons, where their incoming weights are untouched.
    multiplicities : tuple of float or None
        c of the neurons where no layer holds them any more (gauge "plain").
    norm : str or None
        Dotted path of the batch norm over the neurons.
    repeat : int
        Consecutive inputs of the outgoing layer that come from one neuron (a flattened channel, a head).
    sections : tuple of int
        Of heads: for each incoming layer, into how many stretches its rows fall, each with all heads in turn.
    chain : tuple of str
        Dotted paths of further layers that treat each channel on its own (depthwise convolutions, norms).
    """

    name: str
    kind: str
    incoming: tuple[str, ...]
    outgoing: str
    width_before: int
    width_after: int
    method: str
    gauge: str
    indices: tuple[int, ...] | None = None
    multiplicities: tuple[float, ...] | None = None
    norm: str | None = None
    repeat: int = 1
    sections: tuple[int, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def recorded(self) -> bool:
        """Whether only a run of the model tells what one neuron gives: heads, and channels with a chain."""
        return self.kind == "attention" or bool(self.chain)


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
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not a plan.
        """
        try:
            data = json.loads(text)
            return cls(tuple(_read(block) for block in data["blocks"]), data["preserve"], data["seed"])
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"plan: expected JSON written by Plan.to_json ({error})") from error


def _read(block: dict[str, Any]) -> BlockPlan:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in block.items()}
    return BlockPlan(**values)
