"""Attention heads of a sentence encoder: what is lost at 9, 6 and 3 of 12 heads, by every way to choose them.

    python benchmarks/minilm_heads.py              # three seeds, 512 sentences to fit on, 384 to judge
    python benchmarks/minilm_heads.py --half       # half of the heads only, three seeds
    python benchmarks/minilm_heads.py --quick      # one seed, 128 sentences to fit on, 96 to judge

Errors are ||f_slim - f|| / ||f|| of the sentence embeddings on test sentences that no fit has seen.
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean

from minilm_data import batches, corpus, embeddings, encoder
from torch import Tensor, nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.inspection.find import find_blocks
from jlab_compress.report import Report, Table

WIDTHS = (9, 6, 3)
BASELINES = ("random", "magnitude", "nnls", "greedy")
AIMS = ("function", "dynamics")


def slimmed(
    model: nn.Module, heads: int, way: str, calibration: list[dict[str, Tensor]], seed: int
) -> nn.Module:
    blocks = [b for b in find_blocks(model, calibration[0]) if b.kind == "attention"]
    widths = {block.name: heads for block in blocks}
    if way in AIMS:
        return compress(model, widths, calibration=calibration, preserve=way, seed=seed, progress=False).model
    return compress_baseline(model, widths, calibration=calibration, method=way, seed=seed).model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, fewer sentences, half of the heads")
    parser.add_argument("--half", action="store_true", help="half of the heads only")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    quick, small = options.quick, options.quick or options.half
    seeds, wanted = range(1 if quick else options.seeds), (6,) if small else WIDTHS
    model = encoder()
    errors: dict[tuple[str, int], list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        parts = corpus(seed)
        cut = (128, 96) if quick else (None, None)
        calibration, test = batches(parts.calibration.texts[: cut[0]]), batches(parts.test.texts[: cut[1]])
        expected = embeddings(model, test)
        for way in (*BASELINES, *AIMS):
            for heads in wanted:
                start = time.process_time()
                slim = slimmed(model, heads, way, calibration, seed)
                seconds.setdefault(way, []).append(time.process_time() - start)
                error = float((embeddings(slim, test) - expected).norm() / expected.norm())
                errors.setdefault((way, heads), []).append(error)
                print(f"seed {seed}, {way}, {heads} of 12 heads: {error:.4f}", flush=True)
    rows = tuple(
        (way, *(fmean(errors[way, heads]) for heads in wanted), fmean(seconds[way]))
        for way in (*BASELINES, *AIMS)
    )
    columns = ("way", *(f"{heads} of 12 heads" for heads in wanted), "CPU seconds")
    title = f"Error of the embeddings with fewer heads in all six layers, mean of {len(seeds)} seeds"
    print(Report("Attention heads", "", tables=(Table(title, columns, rows),)))


if __name__ == "__main__":
    main()
