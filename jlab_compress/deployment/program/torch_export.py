"""A module as a program of `torch.export`, with the axes that vary spelled out, and why it cannot be one."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.deployment.program.axes import BATCH
from jlab_compress.deployment.program.signature import Signature
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call, mapped
from jlab_compress.execution.isolation import inference
from jlab_compress.surroundings import as_called, random_states_kept


class Flat(nn.Module):
    """A model as a graph has it: a function of tensors one after another that returns tensors.

    Parameters
    ----------
    model : nn.Module
        Takes and returns these in any nesting.
    signature : Signature
        How they are passed to it.
    """

    def __init__(self, model: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.model = model
        self.signature = signature
        self.train(model.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of `Signature.outputs`."""
        call = self.signature.called_with(tensors)
        return tuple(self.signature.outputs(self.model(*call.args, **call.kwargs)).values())


def exported(model: nn.Module, signature: Signature) -> torch.export.ExportedProgram:
    """Return the program of a module in eval mode by `torch.export`, with the varying axes spelled out.

    Raises
    ------
    ValueError
        If the model cannot be exported; the message names the submodule and the cause.
    """
    inner = model.model if isinstance(model, Flat) else model
    _check_names(inner)
    call = signature.call
    with quiet_exporter(), inference(), as_called(), _keywords_spelled_out(model, call):
        try:
            shapes = _dynamic_shapes(model, signature)
            return torch.export.export(
                model, call.args, dict(call.kwargs), dynamic_shapes=shapes, strict=False
            )
        except Exception as error:
            raise_lack_of_memory(error)
            raise ValueError(cause_of(inner, error, tuple(signature.tensors))) from error


def _check_names(model: nn.Module) -> None:
    """Refuse layer names that could end a string in the code that torch.export writes and runs."""
    for name, _ in model.named_modules():
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise ValueError(
                f"model: expected layer names without quotes, backslashes and line breaks, "
                f"got {name[:60]!r}; rename that layer, since the exporter writes names into code"
            )


@contextlib.contextmanager
def _keywords_spelled_out(model: nn.Module, call: Call) -> Iterator[None]:
    """Let `forward` name what it takes as ``**kwargs``, since torch.export mixes up the axes of these."""
    found, forward = inspect.signature(model.forward), model.forward
    named = [p for p in found.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    more = [name for name in call.kwargs if name not in found.parameters]
    if not more:
        yield
        return

    def spelled_out(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in more]
    spelled_out.__signature__ = found.replace(parameters=[*named, *keywords])  # type: ignore[attr-defined]
    before = dict(vars(model))
    vars(model)["forward"] = spelled_out
    try:
        yield
    finally:
        del vars(model)["forward"]
        vars(model).update({"forward": before["forward"]} if "forward" in before else {})


def _dynamic_shapes(model: nn.Module, signature: Signature) -> dict[str, Any]:
    """Return what `torch.export` takes: for each argument of `forward`, its nesting with axes for tensors."""
    batch = torch.export.Dim(BATCH, min=1)
    axes = [
        {
            axis: batch if label == BATCH else torch.export.Dim.DYNAMIC
            for axis, label in signature.axes[name].items()
        }
        for name in signature.tensors
    ]
    waiting, example = iter(axes), signature.example
    given = example.args, dict(example.kwargs)
    args, kwargs = mapped(given, lambda _: next(waiting), lambda _: None)
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


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


def cause_of(model: nn.Module, error: Exception, inputs: Sequence[str] = ()) -> str:
    """Return in one sentence where and why a model with these inputs cannot be exported."""
    place = _submodule(model, error)
    where = f"submodule {place[0]!r} ({place[1]})" if place else "the model"
    return f"model: {where} cannot be exported: {_fixed_axis(error, inputs) or in_words(error)}"


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


def _fixed_axis(error: BaseException, inputs: Sequence[str]) -> str | None:
    """Return what the exporter says of an axis that was to vary and does not, in words."""
    words = r"You marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)"
    fixed = re.search(words, str(error))
    if fixed is None:
        return None
    axis = re.sub(
        r"L\[(\S+)\]\.size\(\)\[(\d+)\]", lambda at: f"{at[2]} of input {_name(at[1], inputs)}", fixed[1]
    )
    return f"its code fixes axis {axis} to {fixed[2]}; let it take any size, or do not name that axis"


def _name(place: str, inputs: Sequence[str]) -> str:
    """Return the name of an input from the keys and numbers under which torch knows it."""
    keys = [key.strip("'") for key in place.split("][")]
    return inputs[int(keys[1])] if keys[0] == "tensors" and len(keys) == 2 else "_".join(keys)
