"""Whether a model gives the same outputs when it runs again on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import difference, tolerance
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.execution.randomness import seed_everything
from jlab_compress.execution.state import State


@dataclass(frozen=True)
class Repetition:
    """What a model gives, and what further runs on the same inputs have shown.

    Parameters
    ----------
    outputs : list of Tensor
        Of the first run.
    fault : str or None
        Why nothing can be told about the model: it does not repeat, though all that it holds was put back.
    note : str or None
        What a run changes so that the next one gives something else, if anything.
    """

    outputs: list[Tensor]
    fault: str | None = None
    note: str | None = None


def repetition(model: nn.Module, call: Call) -> Repetition:
    """Run a model, run it again as it is then, and once more with all put back that the runs have changed."""
    with undisturbed(model):
        state = State.of(model)
        first = outputs_of(call(model))
        going_on = _far(model, call, first)
        changed = state.put_back()
        again = _far(model, call, first)
    if again is not None:
        return Repetition(
            first,
            f"the model does not repeat: run again on the same inputs, {again}, though seeds and all that "
            "its modules hold were put back; let its forward depend on its inputs alone in evaluation mode",
        )
    if going_on is None:
        return Repetition(first)
    return Repetition(
        first,
        note=f"The model does not repeat: a run changes {_named(changed)}, and after it the same inputs "
        "are answered otherwise. All runs here start from what the model held when it was passed.",
    )


def _far(model: nn.Module, call: Call, expected: list[Tensor]) -> str | None:
    """Return how a run differs from an earlier one, in words, or None where it does not."""
    seed_everything(0)
    try:
        far = difference(outputs_of(call(model)), expected)
    except Exception as error:
        raise_lack_of_memory(error)
        return f"it fails ({in_words(error)})"
    return f"its outputs are {far:.2g} apart" if far > tolerance(*(t.dtype for t in expected)) else None


def _named(paths: Sequence[str]) -> str:
    shown = ", ".join(f"`{path}`" for path in paths[:4])
    return shown + (f" and {len(paths) - 4} more" if len(paths) > 4 else "") if paths else "what it holds"
