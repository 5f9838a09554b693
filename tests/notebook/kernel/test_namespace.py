"""What is alive in a namespace, read without running a word of what it holds."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jlab_compress
from jlab_compress.notebook.kernel.namespace import survey
from jlab_compress.report import Report, Reported

KINDS = {
    "Blocks": "blocks",
    "Compression": "compression",
    "ExportReport": "export",
    "Program": "export",
    "Repository": "export",
    "ServedComparison": "served",
    "Sweep": "sweep",
    "Validation": "validation",
}


def test_every_result_of_the_package_says_its_kind():
    for name in jlab_compress.__all__:
        getattr(jlab_compress, name)
    ours = [cls for cls in Reported.__subclasses__() if cls.__module__.startswith("jlab_compress.")]
    assert {cls.__name__: cls.kind for cls in ours} == KINDS


def test_a_result_is_found_by_what_it_is_wherever_its_class_stands():
    @dataclass(frozen=True, repr=False)
    class Measured(Reported):
        report: Report
        kind = "measure"

    made = Measured(Report("Measured"))
    assert survey({"made": made, "report": made.report}).results == (("made", "measure", made),)


def test_looking_loads_neither_torch_nor_anything_that_needs_it():
    code = (
        "import sys; from jlab_compress.notebook.kernel.namespace import survey; "
        "print(survey({'a': object()}).torch, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_the_door_of_the_side_panel_reaches_the_same_channel(plain_shell, monkeypatch):
    from IPython.core import getipython

    from jlab_compress.notebook.kernel.channel import register, unregister

    monkeypatch.setattr(getipython, "get_ipython", lambda: plain_shell)
    fixture = Path(__file__).parents[3] / "labextension" / "fixtures" / "messages.json"
    channel = eval(json.loads(fixture.read_text("utf-8"))["door"])  # what the side panel sends
    assert channel is register(plain_shell)
    unregister(plain_shell)
