"""`%compress`: the Python functions in one line, on names of the user's namespace."""

from __future__ import annotations

import dis
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Bool, Enum, Float, Int, TraitError, Unicode, Union, default, validate

from jlab_compress.compression.prepared import Prepared
from jlab_compress.deployment.targets import TARGETS
from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.fields import Action
from jlab_compress.notebook.kernel.prepared_cache import carry_out
from jlab_compress.notebook.magic.help import OVERVIEW, help_of, parser_of, whole_help
from jlab_compress.notebook.magic.names import did_you_mean, read_words
from jlab_compress.notebook.magic.parsers import split_line

Names = Mapping[str, Any]
HOME = Path(__file__).parents[2]
SIZES = {"widths", "tolerance", "parameters", "macs", "latency"}  # one of them says how small


@magics_class
class Compress(Magics):
    """The line magic `%compress` and its options, `%config Compress`."""

    width = Union(
        [Int(min=1), Float(min=0.0, max=1.0), Unicode()],
        default_value=0.25,
        help="Width where none is written: a count, a fraction or 'polylog'.",
    ).tag(config=True)
    preserve = Unicode(help="What a slim model keeps.").tag(config=True)
    tolerance = Float(
        None, allow_none=True, min=0.0, help="Predicted error that widths meet where none is written."
    ).tag(config=True)
    steps = Int(200, min=1, help="Training steps of a validation.").tag(config=True)
    target = Enum(
        tuple(TARGETS), default_value=next(iter(TARGETS)), help="What an export writes without a path."
    ).tag(config=True)
    opset = Int(
        None, allow_none=True, min=17, max=23, help="ONNX opset of an export, where it is not the usual one."
    ).tag(config=True)
    cards = Bool(False, help="Show every torch.nn.Module as a card with its blocks.").tag(config=True)

    @default("preserve")
    def _usual_aim(self) -> Any:
        return ACTIONS["run"].fields["preserve"].default

    @validate("preserve")
    def _known_aim(self, proposal: Mapping[str, Any]) -> Any:
        known = ACTIONS["run"].fields["preserve"].choices
        if proposal["value"] not in known:
            raise TraitError(f"preserve: expected one of {', '.join(known)}, got {proposal['value']!r}")
        return proposal["value"]

    @needs_local_scope
    @no_var_expand
    @line_magic
    def compress(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        name, *words = split_line(line) or ["help"]
        if name in {"help", "--help", "-h"}:
            print(whole_help())
            return None
        if name not in ACTIONS:
            hint = did_you_mean(name, ACTIONS) or f"; expected one of {', '.join(ACTIONS)}"
            raise UsageError(f"%compress: unknown action {name!r}{hint}")
        if {"-h", "--help"} & set(words):
            print(help_of(name))
            return None
        assert self.shell is not None
        try:
            return self._carry_out(ACTIONS[name], words, ChainMap(local_ns or {}, self.shell.user_ns))
        except Exception as fault:
            if not _is_refusal(fault):
                raise
            raise UsageError(f"%compress {name}: {fault}") from fault

    compress.__doc__ = OVERVIEW

    def _carry_out(self, action: Action, words: list[str], names: Names) -> Any:
        prepared = bool(words) and isinstance(names.get(words[0]), Prepared)
        given = parser_of(action.name).parse_line(words, known={"calibration"} if prepared else ())
        shown = {kind for kind in ("text", "html") if given.pop(kind, False)}
        read = {name: read_words(action.fields[name], said, names) for name, said in given.items()}
        result = carry_out(action, self._completed(action, read, given.get("slim")))
        if "text" in shown:
            print(result)
        if "html" in shown and self.shell is not None:
            self.shell.display_pub.publish({"text/html": result._repr_html_(), "text/plain": str(result)})
        return result

    def _completed(self, action: Action, read: dict[str, Any], slim: str | None) -> dict[str, Any]:
        """Add what `%config Compress` says, and where to write what the line does not say."""
        usual: dict[str, Any] = {}
        match action.name:
            case "run":
                usual["preserve"] = self.preserve
                if read.keys().isdisjoint(SIZES):
                    width = {"widths": self.width}
                    usual |= width if self.tolerance is None else {"tolerance": self.tolerance}
            case "sweep":
                usual["preserve"] = self.preserve
            case "validate" if "seconds" not in read:
                usual["steps"] = self.steps
            case "export":
                written = _target_of(read["path"]) if "path" in read else self.target
                target = read.get("target", written or action.fields["target"].default)
                usual |= {"target": target, **self._written(target, slim, "path")}
            case "serve":
                layout = read.get("layout", action.fields["layout"].default)
                usual |= self._written(layout, slim, "directory")
        return usual | read

    def _written(self, target: str, slim: str | None, path: str) -> dict[str, Any]:
        name = slim if slim is not None and slim.isidentifier() else "model"
        row = TARGETS[target]
        opset = {} if self.opset is None or "opset" not in row.options else {"opset": self.opset}
        return {"name": name, path: row.usual.format(model=name), **opset}


def _target_of(path: str) -> str | None:
    """Return the kind of file that a path's ending names, if it names one."""
    files = [name for name, row in TARGETS.items() if not row.is_folder]
    return next((name for name in files if path.endswith(f".{name}")), None)


def _is_refusal(fault: Exception) -> bool:
    """Tell whether a `raise` statement of the package made it; then its sentence needs no traceback.

    A mistake in this package, such as a wrong call, ends in its files too, but not at a `raise`; there is no
    other sign by which the two can be told apart.
    """
    last = fault.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or isinstance(fault, UsageError):
        return False
    code = last.tb_frame.f_code
    raised = {step.offset for step in dis.get_instructions(code) if step.opname == "RAISE_VARARGS"}
    return Path(code.co_filename).is_relative_to(HOME) and last.tb_lasti in raised
