"""`%compress`: the Python functions in one line, on names of the user's namespace."""

from __future__ import annotations

from argparse import Namespace
from collections import ChainMap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Bool, Enum, Float, Int, Unicode, Union

import jlab_compress
from jlab_compress.notebook.magic.names import did_you_mean, model_of, text_of, value_of
from jlab_compress.notebook.magic.parsers import BUDGETS, OVERVIEW, PARSERS, PRESERVE, TARGETS, split_line

Names = Mapping[str, Any]


@magics_class
class Compress(Magics):
    """The line magic `%compress` and its options, `%config Compress`."""

    width = Union(
        [Int(min=1), Float(min=0.0, max=1.0), Unicode()],
        default_value=0.25,
        help="Width where none is written: a count, a fraction or 'polylog'.",
    ).tag(config=True)
    preserve = Enum(PRESERVE, default_value="dynamics", help="What a slim model keeps.").tag(config=True)
    tolerance = Float(
        None, allow_none=True, min=0.0, help="Predicted error that widths meet where none is written."
    ).tag(config=True)
    steps = Int(200, min=1, help="Training steps of a validation.").tag(config=True)
    target = Enum(TARGETS, default_value="onnx", help="What the panel's Export writes first.").tag(
        config=True
    )
    opset = Int(18, min=17, max=23, help="ONNX opset of an export.").tag(config=True)
    cards = Bool(False, help="Show every torch.nn.Module as a card with its blocks.").tag(config=True)

    @needs_local_scope
    @no_var_expand
    @line_magic
    def compress(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        action, *words = split_line(line) or ["help"]
        if action in {"help", "--help", "-h"}:
            print(OVERVIEW)
            return None
        if action not in PARSERS:
            hint = did_you_mean(action, PARSERS) or f"; expected one of {', '.join(PARSERS)}"
            raise UsageError(f"%compress: unknown action {action!r}{hint}")
        if {"-h", "--help"} & set(words):
            print(PARSERS[action].format_help())
            return None
        given = PARSERS[action].parse_line(words)
        assert self.shell is not None
        try:
            result = getattr(self, f"_{action}")(given, ChainMap(local_ns or {}, self.shell.user_ns))
        except Exception as fault:
            if not _is_refusal(fault):
                raise
            raise UsageError(f"%compress {action}: {fault}") from fault
        if getattr(given, "text", False):
            print(result)
        if getattr(given, "html", False):
            self.shell.display_pub.publish({"text/html": result._repr_html_(), "text/plain": str(result)})
        return result

    compress.__doc__ = OVERVIEW

    def _inspect(self, given: Namespace, names: Names) -> Any:
        return jlab_compress.find_blocks(model_of(given.model, names), _optional(given.inputs, names))

    def _run(self, given: Namespace, names: Names) -> Any:
        model, tolerance = model_of(given.model, names), _optional(given.tolerance, names)
        widths = _widths(given.widths, names) if given.widths else self._shared(given, model, names)
        if widths is None and tolerance is None:
            widths, tolerance = (self.width, None) if self.tolerance is None else (None, self.tolerance)
        return jlab_compress.compress(
            model,
            widths,
            calibration=value_of(given.calibration, names),
            tolerance=tolerance,
            preserve=self._preserve(given),
            seed=given.seed,
            plain=given.plain,
        )

    def _shared(self, given: Namespace, model: Any, names: Names) -> Any:
        """Return widths under the budget that is given for the whole model, or None."""
        budgets = {name: getattr(given, name) for name in BUDGETS if getattr(given, name) is not None}
        if not budgets:
            return None
        return jlab_compress.allocate_widths(
            model, calibration=value_of(given.calibration, names), seed=given.seed, **budgets
        )

    def _preserve(self, given: Namespace) -> Any:
        return given.preserve or self.preserve

    def _sweep(self, given: Namespace, names: Names) -> Any:
        return jlab_compress.sweep(
            model_of(given.model, names),
            [_width(width, names) for width in given.widths] or None,
            calibration=value_of(given.calibration, names),
            preserve=self._preserve(given),
            seed=given.seed,
        )

    def _validate(self, given: Namespace, names: Names) -> Any:
        optimizer = value_of(given.optimizer, names)
        return jlab_compress.validate(
            model_of(given.model, names),
            model_of(given.slim, names),
            value_of(given.batches, names),
            value_of(given.loss, names),
            optimizer=optimizer if given.rate is None else partial(optimizer, lr=given.rate),
            steps=self.steps if given.steps is None and given.seconds is None else given.steps,
            seconds=given.seconds,
            held_out=_optional(given.held_out, names),
            metric=_optional(given.metric, names),
        )

    def _export(self, given: Namespace, names: Names) -> Any:
        model, path, inputs, options = self._written(given, names)
        if given.layout is not None:
            name = given.name or given.model
            return jlab_compress.export_repository(model, path, name, inputs, layout=given.layout, **options)
        if path.endswith(".pt2"):
            if given.precision != "float32" or given.original or given.calibration or given.opset:
                raise UsageError("%compress export: a .pt2 file takes --inputs and --overwrite only")
            return jlab_compress.export_program(model, path, inputs, overwrite=given.overwrite)
        return jlab_compress.export_onnx(model, path, inputs, overwrite=given.overwrite, **options)

    def _serve(self, given: Namespace, names: Names) -> Any:
        model, path, inputs, options = self._written(given, names)
        return jlab_compress.serve_and_compare(
            model,
            inputs,
            directory=path,
            name=given.name or given.model,
            layout=given.layout or "triton",
            server=given.server,
            **options,
        )

    def _written(self, given: Namespace, names: Names) -> tuple[Any, str, Any, dict[str, Any]]:
        options = {
            "opset": given.opset or self.opset,
            "precision": given.precision,
            "calibration": _optional(given.calibration, names),
            "original": None if given.original is None else model_of(given.original, names),
        }
        model = model_of(given.model, names)
        return model, text_of(given.path, names), value_of(given.inputs, names), options

    def _panel(self, given: Namespace, names: Names) -> Any:
        model = None if given.model is None else model_of(given.model, names)
        return jlab_compress.panel(model, calibration=_optional(given.calibration, names))


def _is_refusal(fault: Exception) -> bool:
    """Tell whether the package refuses by a `raise` of its own; its sentence needs no traceback."""
    last = extract_tb(fault.__traceback__)[-1]
    ours = Path(last.filename).is_relative_to(Path(jlab_compress.__file__).parent)
    return ours and (last.line or "").startswith("raise ") and not isinstance(fault, UsageError)


def _optional(word: str | None, names: Names) -> Any:
    return None if word is None else value_of(word, names)


def _widths(words: list[str], names: Names) -> Any:
    """Return one width for all blocks, or a dict where the words are BLOCK=WIDTH."""
    pairs = [word.rpartition("=") for word in words]
    if all(block for block, _, _ in pairs):
        return {block: _width(width, names) for block, _, width in pairs}
    if len(words) == 1:
        return _width(words[0], names)
    raise UsageError(
        f"%compress run: widths {' '.join(words)!r}; write one width, or BLOCK=WIDTH for each block"
    )


def _width(word: str, names: Names) -> Any:
    return word if word == "polylog" else value_of(word, names)
