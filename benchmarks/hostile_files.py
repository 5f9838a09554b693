"""Load files that were made to harm: spoilt bytes, headers, plans and tensors, half of them signed again.

Prints, for each way of spoiling, how many files were refused in one sentence, how many came as the model that
they say, and how many ended in anything else; then the longest time of a load, and the memory that all took.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

import jlab_compress

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.slim.hostile import spoilt


def network() -> nn.Module:
    """Return an original."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def outcome(path: Path) -> str:
    """Return how loading a file ends."""
    try:
        jlab_compress.load(path, network())
    except (ValueError, OSError) as error:
        return "more than a sentence" if "\n" in str(error) or len(str(error)) > 500 else "refused"
    except BaseException as error:
        return f"raw {type(error).__name__}"
    return "loaded"


def main() -> None:
    """Spoil, load, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    calibration = torch.randn(80, 6, dtype=torch.float64)
    slim = jlab_compress.compress_baseline(network(), 8, calibration=calibration, method="k-means").model
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, "slim.safetensors")
        jlab_compress.save(slim, path)
        data, longest = path.read_bytes(), 0.0
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for way, content in spoilt(data, options.files, [data], options.seed):
            path.write_bytes(content)
            begin = time.perf_counter()
            counts.setdefault(way, Counter())[outcome(path)] += 1
            longest = max(longest, time.perf_counter() - begin)
    for way, found in counts.items():
        print(f"{way:16}", ", ".join(f"{n} {what}" for what, n in sorted(found.items())))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(f"longest load {longest:.3f} s, memory grown by {grown:.0f} MB over {options.files} files")


if __name__ == "__main__":
    main()
