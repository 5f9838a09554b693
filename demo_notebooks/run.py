"""Execute a notebook headless and print what it reports.

Usage: python demo_notebooks/run.py NOTEBOOK DIRECTORY. The kernel works in DIRECTORY, which then
holds the executed notebook and every file that the notebook writes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def execute(notebook: Path, directory: Path, *, timeout: int = 600) -> nbformat.NotebookNode:
    """Run every cell with `directory` as working folder; write the executed notebook there.

    Raises `CellExecutionError` if a cell fails; what had run until then is written all the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    document = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        document, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(directory)}}
    )
    try:
        client.execute()
    finally:
        nbformat.write(document, directory / notebook.name)
    return document


def printed(document: nbformat.NotebookNode) -> str:
    """Return the plain text that the cells printed or returned, progress bars left out."""
    parts = []
    for cell in document.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stdout":
                parts.append(output.text.rstrip())
            elif output.output_type == "execute_result":
                parts.append(output.data.get("text/plain", "").rstrip())
    return "\n\n".join(part for part in parts if part)


def main() -> int:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    try:
        document = execute(arguments.notebook, arguments.directory)
    except CellExecutionError as fault:
        print(fault, file=sys.stderr)
        return 1
    print(printed(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
