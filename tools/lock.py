"""Write the lists of packages that set-ups install, with the hash of every file: `make lock`.

Usage: python tools/lock.py UV, with the path of uv. `constraints.txt` says which versions the checks run
with; those of the servers are the newest that fit. torch is left out: its builds differ between registries.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUP = ROOT / "jlab_compress" / "deployment" / "servers" / "setup"
PROJECT = ("pyproject.toml", "--group", "build", "--constraint", "constraints.txt", "--universal")
LINUX = ("--python-platform", "x86_64-manylinux_2_35")
LISTS = {
    ROOT / "requirements" / "all.txt": ("", (*PROJECT, "--extra", "all")),
    ROOT / "requirements" / "test.txt": ("", (*PROJECT, "--extra", "test")),
    SETUP / "mlserver.txt": ("mlserver==1.7.1\nonnxruntime>=1.24.1", ("-", "--universal")),
    SETUP / "triton.txt": ("nvidia-pytriton==0.7.0\nonnxruntime>=1.24.1", ("-", *LINUX)),
}
# torch, and what only its builds for GPUs need.
LEFT_OUT = re.compile(r"^(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==.*\n(    .*\n)*", re.MULTILINE)
KEPT = "nvidia-pytriton"
HOW = ("--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header", "--quiet")


def locked(uv: str, wanted: str, words: tuple[str, ...]) -> str:
    """Return a list with its hashes."""
    command = [uv, "pip", "compile", *words, *HOW]
    made = subprocess.run(command, input=wanted, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return LEFT_OUT.sub(lambda found: found[0] if found[1] == KEPT else "", made)


if __name__ == "__main__":
    for path, (wanted, words) in LISTS.items():
        path.write_text(locked(sys.argv[1], wanted, words), encoding="utf-8")
