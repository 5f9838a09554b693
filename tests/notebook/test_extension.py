"""Loading adds the magic, its options and its completion; unloading leaves the shell as it was."""

import jlab_compress
from jlab_compress.notebook.magic.magics import Compress


def state(shell):
    return (
        sorted(shell.magics_manager.magics["line"]),
        sorted(shell.magics_manager.magics["cell"]),
        [name for c in shell.configurables if not (name := type(c).__name__).endswith("Magics")],  # lazy
        list(shell.Completer.custom_matchers),
        {name: list(found) for name, found in shell.events.callbacks.items()},
        [dict(f.type_printers) for f in shell.display_formatter.formatters.values()],
        [dict(f.deferred_printers) for f in shell.display_formatter.formatters.values()],
        sorted(shell.user_ns),
    )


def test_load_and_unload_leave_no_trace(plain_shell):
    before = state(plain_shell)
    plain_shell.run_line_magic("load_ext", "jlab_compress")
    assert "compress" in plain_shell.magics_manager.magics["line"]
    assert state(plain_shell) != before
    plain_shell.run_line_magic("unload_ext", "jlab_compress")
    assert state(plain_shell) == before


def test_cards_are_taken_back_too(plain_shell):
    before = state(plain_shell)
    jlab_compress.load_ipython_extension(plain_shell)
    plain_shell.run_line_magic("config", "Compress.cards = True")
    jlab_compress.unload_ipython_extension(plain_shell)
    assert state(plain_shell) == before


def test_loading_twice_is_harmless(plain_shell):
    jlab_compress.load_ipython_extension(plain_shell)
    once = state(plain_shell)
    jlab_compress.load_ipython_extension(plain_shell)
    assert state(plain_shell) == once
    assert sum(isinstance(c, Compress) for c in plain_shell.configurables) == 1


def test_unloading_what_is_not_loaded_is_harmless(plain_shell):
    before = state(plain_shell)
    jlab_compress.unload_ipython_extension(plain_shell)
    assert state(plain_shell) == before


def test_reload_works_and_keeps_one_of_each(shell):
    once = state(shell)
    shell.run_line_magic("reload_ext", "jlab_compress")
    assert [type(x) for x in state(shell)] == [type(x) for x in once]
    assert len(shell.Completer.custom_matchers) == 1


def test_options_from_a_config_file_are_taken(plain_shell):
    plain_shell.config.Compress.steps = 7
    jlab_compress.load_ipython_extension(plain_shell)
    assert next(c for c in plain_shell.configurables if isinstance(c, Compress)).steps == 7
