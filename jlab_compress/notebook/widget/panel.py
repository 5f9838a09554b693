"""The panel in a cell: the side panel's view as a widget, for every front end that shows ipywidgets."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from torch import nn

from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.kernel.block_cache import search_blocks
from jlab_compress.notebook.kernel.channel import check_size
from jlab_compress.notebook.kernel.messages import TEXT_CAP, Digest, cut
from jlab_compress.notebook.kernel.namespace import is_offered, survey
from jlab_compress.notebook.kernel.tqdm_watch import message
from jlab_compress.notebook.magic.magics import Compress
from jlab_compress.notebook.widget.operations import BUTTONS, check_fields, results_of
from jlab_compress.notebook.widget.still import width_bars
from jlab_compress.public import public
from jlab_compress.report import Report
from jlab_compress.surroundings import shielded

OUTPUT = "application/vnd.jlab-compress.panel+json"  # `savedPanel.ts` shows the widget or what was saved
STOPPED = "Stopped; the original is as it was."
STATIC = Path(__file__).parents[1] / "static"  # where `labextension/scripts/panel.mjs` writes


@shielded()
def panel(model: nn.Module | None = None, *, calibration: Any = None, **data: Any) -> Panel:
    """Show a model's blocks in the cell, to be made slim, validated and exported by clicking.

    Parameters
    ----------
    model : nn.Module or None
        The model to look at; None offers every model and value of the notebook.
    calibration : Tensor, tuple, mapping or iterable of these
        Inputs for `compress`.
    **data
        Further values that a step may use, under the names that the panel shows: ``batches=...``,
        ``held_out=...``, ``loss=...``.

    Returns
    -------
    Panel
        A widget. What was made is in `panel.results`, the newest slim model in `panel.slim`; the
        notebook's own names are never written.

    Raises
    ------
    TypeError
        If `model` is no torch module.
    FileNotFoundError
        If the package was installed without its front end.
    """
    if model is not None and not issubclass(type(model), nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module, got {type(model).__name__}; pass the network itself"
        )
    if not (STATIC / "panel.js").is_file():
        raise FileNotFoundError(
            "the panel's front end is not built; install the wheel, or run `jlpm build` in labextension"
        )
    given = {} if calibration is None else {"calibration": calibration}
    return Panel(model, {**given, **data})


class Panel(anywidget.AnyWidget):
    """The widget that `panel` returns; see there."""

    _esm = STATIC / "panel.js" if (STATIC / "panel.js").is_file() else "export default {}"
    _css = STATIC / "panel.css" if (STATIC / "panel.css").is_file() else ""
    state = traitlets.Dict().tag(sync=True)
    running = traitlets.Unicode("").tag(sync=True)
    failure = traitlets.Unicode("").tag(sync=True)
    plans: traitlets.List[Any] = traitlets.List().tag(sync=True)
    defaults = traitlets.Dict().tag(sync=True)

    def __init__(self, model: nn.Module | None, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.results: dict[str, Any] = {}
        self._given = dict(data) if model is None else {_name_of(model): model, **data}
        self._whole = model is None
        self._digest = Digest(metadata.version("jlab-compress"))
        self.defaults = _defaults()
        if model is not None:
            self.blocks(_name_of(model))
        self.refresh()

    @property
    def slim(self) -> nn.Module | None:
        """The newest slim model, or None before the first compression."""
        return next((v for k, v in reversed(self.results.items()) if k.endswith("_slim")), None)

    def values(self) -> dict[str, Any]:
        """Return what a request may name: what was given, what was made, or the notebook's names.

        Hidden names are left out, as they are not shown either.
        """
        shell = get_ipython() if self._whole else None
        every = {**(shell.user_ns if shell else {}), **self._given, **self.results}
        return {name: value for name, value in every.items() if is_offered(name)}

    def refresh(self) -> None:
        """Look again at the models and send what is there to every view."""
        self.state = self._digest.state(survey(self.values(), seconds=1.0))

    def blocks(self, name: str) -> None:
        """Find the blocks of one model and send them."""
        for label, model, _ in survey(self.values(), seconds=1.0).models:
            if label == name:
                search_blocks(model)
        self.refresh()

    def run(self, name: str, model: str, fields: Mapping[str, Any]) -> None:
        """Carry out one action; what it makes is kept in `results`, a fault is shown in the panel."""
        action = ACTIONS[name]
        check_fields(action, fields)
        self.running, self.failure = name, ""
        try:
            self.results.update(results_of(action, model, fields, self.values(), self._step))
        except KeyboardInterrupt as stop:
            self.failure = self._stopped(model) if hasattr(stop, "__notes__") else STOPPED
        except Exception as fault:  # the page is where the caller looks
            self.failure = cut(f"{type(fault).__name__}: {fault}", TEXT_CAP)
        finally:
            self.running = ""
            self.refresh()

    def _stopped(self, model: str) -> str:
        """Keep what there is of a compression that was stopped among the results, and say so."""
        found = public("last_interrupted")()
        if found is None:
            return f"{STOPPED} Nothing was made."
        self.results |= {f"{model}_stopped": found, f"{model}_stopped_slim": found.model}
        return f"{found.report.summary} It is kept as {model}_stopped_slim; the original is as it was."

    def _step(self, label: str, done: int, total: int) -> None:
        self.send(message(label, done, total, 0.0))

    def _handle_msg(self, envelope: Any) -> None:
        """Take an envelope of ipywidgets; a page sets no trait but its plans; a malformed one is refused."""
        match envelope:
            case {"content": {"data": {"method": "request_state"}}}:
                self.send_state()
            case {"content": {"data": {"method": "custom", "content": content}}}:
                self._asked(self, content, [])
            case {
                "content": {"data": {"method": "update", "state": {"plans": list(), **others} as state}}
            } if not others:
                self.set_state(state)
            case _:
                self._asked(self, None, [])

    def _asked(self, _: Any, content: Any, buffers: Any) -> None:
        try:
            self._answer(content)
        except Exception as fault:  # the page is where the caller looks
            self.send({"type": "error", "request": None, "message": cut(str(fault), TEXT_CAP)})

    def _answer(self, content: Any) -> None:
        check_size(content)
        match content:
            case {"op": "state", **more} if not more:
                self.refresh()
            case {"op": "blocks", "model": str(model), **more} if not more:
                self.blocks(model)
            case {"op": str(name), "model": str(model), "fields": dict(fields), **more} if (
                name in BUTTONS and not more
            ):
                self.run(name, model, fields)
            case _:
                raise ValueError(f"'op' must be one of state, blocks, {', '.join(BUTTONS)}, with its fields")

    def report(self) -> Report:
        """Return what the panel shows as a report, for notebooks that run no widgets."""
        return width_bars(self.state)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        content, about = bundle
        report = self.report()
        still = {OUTPUT: {}, "text/plain": str(report), "text/html": report._repr_html_()}
        return {**content, **still}, about


def _defaults() -> dict[str, Any]:
    """Return what `%config Compress` says, for the fields that the panel fills first."""
    configurables = getattr(get_ipython(), "configurables", ())
    options = next((c for c in configurables if isinstance(c, Compress)), None)
    if options is None:
        return {}
    tolerance = {} if options.tolerance is None else {"tolerance": 100 * options.tolerance}
    return {"width": options.width, "steps": options.steps, "target": options.target, **tolerance}


def _name_of(model: nn.Module) -> str:
    shell = get_ipython()
    names = shell.user_ns.items() if shell else ()
    return next((name for name, value in list(names) if value is model and not name.startswith("_")), "model")
