"""What lies beside a served model: a card to read, an example and a client to send it with, check sums."""

from __future__ import annotations

import json
from pathlib import Path

from jlab_compress.deployment.onnx.export_report import ExportReport
from jlab_compress.deployment.onnx.files import sha256_of
from jlab_compress.deployment.program.signature import Arrays
from jlab_compress.deployment.servers.layouts import Layout
from jlab_compress.slim.plan import BlockPlan

SUMS = "SHA256SUMS"
UNITS = {"attention": "heads", "conv": "channels"}
CARD = """# {name}

A model in ONNX form, checked against the torch module that it was made from.

## How it was made

{made}
- Precision {precision}, opset {opset}, {n_parameters:,} parameters.

## How far it is from the torch module

The largest error over {n_cases} sets of input sizes is {gap:.1e} of the outputs' norm;
`report.json` lists them.

## Start it

`FOLDER` is the folder that holds `{name}`.

    {start}
    python client.py {address}

To try it on this machine alone, with jlab-compress; it says at which address:

    jlab-compress serve FOLDER

Check the files with `sha256sum -c {sums}`.

```
{report}
```
"""


def write_companions(folder: Path, name: str, export: ExportReport, example: Arrays, layout: Layout) -> None:
    """Write model card, report.json, input example, client and check sums into a version's folder."""
    texts = {
        "README.md": model_card(name, export, layout),
        "report.json": export.report.to_json() + "\n",
        "input_example.json": json.dumps(layout.request(example, export.form), indent=2) + "\n",
        "client.py": layout.client.format(name=name),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def model_card(name: str, export: ExportReport, layout: Layout) -> str:
    """Return the text that tells a stranger what the model is, how it was checked and how to start it."""
    made = [_made(block) for block in (export.plan.blocks if export.plan else ())]
    return CARD.format(
        name=name,
        made="\n".join(made) or "- The layers have the widths of the torch module.",
        precision=export.precision,
        opset=export.form.opset,
        n_parameters=export.n_parameters,
        n_cases=len(export.parity),
        gap=export.max_gap,
        start=layout.start.format(name=name, version=export.path.parent.name),
        address=layout.address,
        sums=SUMS,
        report=export.report,
    )


def _made(block: BlockPlan) -> str:
    units = UNITS.get(block.kind, "neurons")
    return f"- `{block.name}`: {block.width_before} {units} became {block.width_after} ({block.method})."
