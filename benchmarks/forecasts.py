"""Forecasts beside what the fits then reach: predicted / measured held-out errors.

    python benchmarks/forecasts.py                 # digits, trained and at initialisation; four minutes
    python benchmarks/forecasts.py --encoder       # one FFN of the sentence encoder; ten minutes
    python benchmarks/forecasts.py --seeds 1 --json out.json

"function" is the error of the outputs of `fit_function`; "outputs" and "kernel" are those of the outputs and
of the tangent kernel of `fit_dynamics`. Of the encoder, function errors are behind the residual and its norm.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from digits_problem import digits, fresh_layer, trained_layer

from jlab_compress.fitting.aims.dynamics import fit_dynamics
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.predict import predict_dynamics, predict_function
from jlab_compress.fitting.layer import Layer

Row = dict[str, Any]


def compared(label: str, layer: Layer, rows: FitRows, widths: Sequence[int], seed: int) -> list[Row]:
    """Return predicted and measured errors at each width, and print them."""
    start = time.process_time()
    found = predict_function(layer, rows, widths, seed=seed, kernel=False)
    both = predict_dynamics(layer, rows.inputs, widths, seed=seed)
    seconds = time.process_time() - start
    table = list[Row]()
    for i, width in enumerate(widths):
        function = fit_function(layer, rows, width, seed=seed)
        dynamics: Fit = fit_dynamics(layer, rows.inputs, width, seed=seed)
        pairs = (
            ("function", found.function_errors[i], function.function_error),
            ("outputs", both.function_errors[i], dynamics.function_error),
            ("kernel", both.kernel_errors[i], dynamics.kernel_error),
        )
        for kind, predicted, measured in pairs:
            row = {
                "layer": label,
                "width": width,
                "error": kind,
                "predicted": predicted,
                "measured": measured,
            }
            table.append({**row, "seed": seed, "method": dynamics.method})
            figures = f"{predicted:.4f} | {measured:.4f} | {predicted / measured:.2f}"
            print(f"| {label} | {width} | {kind} | {figures} |", flush=True)
    print(f"both forecasts, all widths: {seconds:.1f} s CPU", flush=True)
    return table


def on_encoder() -> list[Row]:
    from minilm_data import batches, corpus, encoder

    from jlab_compress.compression.signals.block_rows import gather_rows
    from jlab_compress.execution.inputs import read_batches
    from jlab_compress.inspection.find import find_blocks
    from jlab_compress.slim.layers import read_layer

    model = encoder()
    calls, _ = read_batches(model, batches(corpus().calibration.texts))
    block = find_blocks(model).named("encoder.layer.2.intermediate.dense")
    rows = gather_rows(model, model, block, calls, seed=0)
    layer = read_layer(model, block, block.activation)
    return compared("encoder FFN", layer, rows, (768, 384, 192), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| layer | width | error | predicted | measured | ratio |\n|" + "---|" * 6)
    table: list[Row] = []
    if given.encoder:
        table = on_encoder()
    else:
        for seed in range(given.seeds):
            task = digits(seed)
            for label, layer in (("trained", trained_layer(seed, task)), ("initial", fresh_layer(seed))):
                table += compared(f"digits, {label}", layer, FitRows(task.inputs), (256, 64, 32, 16), seed)
    worst = max(max(r["predicted"] / r["measured"], r["measured"] / r["predicted"]) for r in table)
    print(f"worst ratio: {worst:.2f}")
    if given.json:
        given.json.write_text(json.dumps(table, indent=1))
