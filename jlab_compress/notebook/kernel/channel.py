"""The channel between a kernel and the side panel.

The kernel pushes; the front end never polls. One comm per open panel: the kernel sends the state
when it is opened and after each cell that changed it, the panel sends a few named requests. With no
comm open the hook returns at once. Nothing that arrives is run: a request names an operation of
`OPERATIONS` and models by their variable.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from importlib import metadata
from typing import Any

from jlab_compress.notebook.kernel.block_cache import search_blocks
from jlab_compress.notebook.kernel.messages import PROTOCOL, TEXT_CAP, Digest, block_rows, cut
from jlab_compress.notebook.kernel.namespace import survey
from jlab_compress.notebook.kernel.tqdm_watch import Watch

TARGET = "jlab-compress"
OPEN_CAP = 8
MESSAGE_CAP, DEPTH_CAP = 20_000, 20
_log = logging.getLogger(__name__)
_channels: weakref.WeakKeyDictionary[Any, Channel] = weakref.WeakKeyDictionary()


class Channel:
    """What one shell tells the panels that look at it.

    Parameters
    ----------
    shell : InteractiveShell
        Its `user_ns` is read, never written.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = weakref.ref(shell)
        self.digest = Digest(metadata.version("jlab-compress"))
        self.comms: dict[str, Any] = {}
        self.told: int | None = None
        self.watch: Watch | None = None

    def opened(self, comm: Any, message: Any) -> None:
        """Take in a new listener and send it the whole state; a re-opened one replaces itself."""
        self.comms.pop(comm.comm_id, None)
        while len(self.comms) >= OPEN_CAP:  # pages that were closed without a word
            self.comms.pop(next(iter(self.comms)))
        self.comms[comm.comm_id] = comm
        comm.on_msg(lambda message: self.asked(comm, message))
        comm.on_close(lambda message: self.comms.pop(comm.comm_id, None))
        self.asked(comm, {"content": {"data": {"op": "state"}}})

    def asked(self, comm: Any, message: Any) -> None:
        """Answer one request with its reply or with an error sentence."""
        data = message
        for part in ("content", "data"):  # an envelope may hold anything
            data = data.get(part) if isinstance(data, dict) else None
        request = data.get("request") if isinstance(data, dict) else None
        request = request if type(request) is int else None
        try:
            reply = self.answer(data)
        except Exception as fault:  # the page is where the caller looks
            comm.send({"type": "error", "request": request, "message": cut(str(fault), TEXT_CAP)})
        else:
            comm.send({**reply, "request": request})

    def answer(self, data: Any) -> dict[str, Any]:
        """Return the reply to a request.

        Raises
        ------
        ValueError
            If the request is no mapping, too long, names no operation, or has the wrong fields.
        """
        if not isinstance(data, dict):
            raise ValueError(f"a request must be a mapping with 'op', not {type(data).__name__}")
        check_size(data)
        operation = data.get("op")
        if not isinstance(operation, str) or operation not in OPERATIONS:
            raise ValueError(f"'op' must be one of {', '.join(OPERATIONS)}")
        fields = {key: value for key, value in data.items() if key not in ("op", "request")}
        expected, answer = OPERATIONS[operation]
        if set(fields) != expected or not all(isinstance(value, str) for value in fields.values()):
            raise ValueError(f"'{operation}' takes {', '.join(sorted(expected)) or 'no fields'} as text")
        return answer(self, **fields)

    def state(self) -> dict[str, Any]:
        """Return the whole state and remember it as told."""
        found = survey(self._namespace())
        self.told = found.key
        return self.digest.state(found)

    def blocks(self, model: str) -> dict[str, Any]:
        """Return the blocks of one model by the name of its variable; a large one is refused."""
        for name, module, structure in survey(self._namespace(), seconds=1.0).models:
            if name == model and structure.large:
                raise ValueError(
                    f"{model} is large; find its blocks in a cell: {model}_blocks = find_blocks(...)"
                )
            if name == model:
                return {"type": "blocks", "model": name, "blocks": block_rows(search_blocks(module))}
        raise ValueError(f"no model named {model[:100]!r} is alive in this kernel")

    def before_cell(self, info: Any = None) -> None:
        """Watch the progress of a cell if a listener is there."""
        if self.comms:
            self.watch = Watch(self.send)

    def after_cell(self, result: Any = None) -> None:
        """Send the state if a listener is there and the set or shape of live models changed."""
        if self.watch is not None:
            self.watch.stop()
            self.watch = None
        if not self.comms:
            return
        try:
            found = survey(self._namespace())
            if found.key != self.told:
                self.told = found.key
                self.send(self.digest.state(found))
        except Exception:  # a fault here must not show up under the user's cell
            _log.warning("The panel could not be told about this cell.", exc_info=True)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message to every open panel."""
        for comm in list(self.comms.values()):
            comm.send(message)

    def close(self) -> None:
        """Forget every listener."""
        self.comms.clear()

    def _namespace(self) -> dict[str, Any]:
        shell = self.shell()
        return {} if shell is None else shell.user_ns

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"application/json": {"protocol": PROTOCOL, "version": self.digest.version}}


OPERATIONS: dict[str, tuple[set[str], Callable[..., dict[str, Any]]]] = {
    "state": (set(), Channel.state),
    "blocks": ({"model"}, Channel.blocks),
}


def register(shell: Any) -> Channel:
    """Let side panels connect to this shell; a second call returns the same channel.

    Parameters
    ----------
    shell : InteractiveShell
        IPython's shell. Without a kernel (plain IPython) there is nobody to tell, and only the
        hook is registered, idle.

    Returns
    -------
    Channel
        Shows itself to a front end as protocol number and package version.
    """
    if shell in _channels:
        return _channels[shell]
    channel = Channel(shell)
    _channels[shell] = channel
    shell.events.register("pre_run_cell", channel.before_cell)
    shell.events.register("post_run_cell", channel.after_cell)
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        kernel.comm_manager.register_target(TARGET, channel.opened)
    return channel


def unregister(shell: Any) -> None:
    """Take back what `register` did; nothing happens where it was not called."""
    channel = _channels.pop(shell, None)
    if channel is None:
        return
    channel.close()
    shell.events.unregister("pre_run_cell", channel.before_cell)
    shell.events.unregister("post_run_cell", channel.after_cell)
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        kernel.comm_manager.unregister_target(TARGET, channel.opened)


def check_size(value: Any) -> None:
    """Refuse a JSON value that is too long or too deep, without reading all of it.

    Raises
    ------
    ValueError
        With what a request may hold.
    """
    total, stack = 0, [(value, 0)]
    while stack:
        item, depth = stack.pop()
        total += len(item) if isinstance(item, str) else 1
        if total > MESSAGE_CAP or depth > DEPTH_CAP:
            raise ValueError(
                f"a request may hold {MESSAGE_CAP:,} characters and {DEPTH_CAP} values in one another; this "
                "one holds more"
            )
        if isinstance(item, dict):
            stack.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            stack.extend((part, depth + 1) for part in item)
