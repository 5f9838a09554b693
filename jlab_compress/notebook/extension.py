"""`%load_ext jlab_compress`: what is registered with the shell, and taken back."""

from __future__ import annotations

from typing import Any

from jlab_compress.notebook.kernel import channel
from jlab_compress.notebook.magic import cards, completion
from jlab_compress.notebook.magic.magics import Compress


def load(shell: Any) -> None:
    """Register `%compress`, its completion and options, and the side panel's channel.

    Loading again changes nothing.

    Parameters
    ----------
    shell : InteractiveShell
        As `%load_ext` hands it over; a kernel is not needed.
    """
    if _loaded(shell) is not None:
        return
    magics = Compress(shell)
    magics.observe(lambda change: cards.show_cards(shell, change["new"]), "cards")
    cards.show_cards(shell, magics.cards)
    shell.register_magics(magics)
    completion.register(shell)
    channel.register(shell)


def unload(shell: Any) -> None:
    """Take back everything that `load` registered; without it, nothing happens."""
    magics = _loaded(shell)
    if magics is None:
        return
    channel.unregister(shell)
    completion.unregister(shell)
    cards.show_cards(shell, False)
    del shell.magics_manager.magics["line"]["compress"]
    shell.configurables.remove(magics)


def _loaded(shell: Any) -> Compress | None:
    return next((c for c in shell.configurables if isinstance(c, Compress)), None)
