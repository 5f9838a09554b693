"""One budget for all blocks: widths shared out by forecasts beside the same fraction of every block.

    python benchmarks/width_allocation.py                    # digits, three seeds; about a minute on one core
    python benchmarks/width_allocation.py --encoder          # the sentence encoder's six FFNs, one seed
    python benchmarks/width_allocation.py --json out.json

Digits: a ReLU net 64-512-256-128-10. The budget is what the uniform fraction costs in parameters. Error:
||f_slim - f|| / ||f|| on test rows, of the logits; of the encoder, of the embeddings of other sentences.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from digits_problem import digits
from torch import Tensor, nn

from jlab_compress import allocate_widths, compress, find_blocks
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.graph.costs import count_parameters

Row = dict[str, Any]


def trained_net(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a trained net with three hidden layers, calibration rows and test rows."""
    task = digits(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = (64, 512, 256, 128, 10)
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(1500):
        rows = torch.randint(len(task.inputs), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(task.inputs[rows]), task.labels[rows]).backward()
        optimizer.step()
    return net.eval(), task.inputs, task.test_inputs


def compared(
    model: nn.Module,
    calibration: Any,
    fractions: tuple[float, ...],
    make: Callable[[nn.Module, Any], nn.Module],
    error: Callable[[nn.Module], float],
    label: str,
) -> list[Row]:
    """Return one row per fraction: the errors of uniform and of allocated widths at the same budget."""
    present = {block.name: block.width for block in find_blocks(model, first(calibration)).by_default}
    rows = []
    for fraction in fractions:
        uniform = {name: round(fraction * width) for name, width in present.items()}
        slim = make(model, uniform)
        budget = count_parameters(slim) / count_parameters(model)
        widths = allocate_widths(model, calibration=calibration, parameters=budget)
        mine = make(model, widths)
        row = {
            "model": label,
            "fraction": fraction,
            "uniform": error(slim),
            "allocated": error(mine),
            "parameters": count_parameters(mine) / count_parameters(slim),
            "widths": list(widths.values()),
        }
        rows.append(row)
        figures = f"{row['uniform']:.4f} | {row['allocated']:.4f} | {row['allocated'] / row['uniform']:.2f}"
        print(f"| {label} | {fraction} | {figures} | {row['parameters']:.3f} | {row['widths']} |", flush=True)
    return rows


def first(calibration: Any) -> Any:
    return calibration[0] if isinstance(calibration, list) else calibration


def on_digits(seeds: int) -> list[Row]:
    rows = []
    for seed in range(seeds):
        net, x, test = trained_net(seed)

        def make(model: nn.Module, widths: Any, x: Tensor = x, seed: int = seed) -> nn.Module:
            options: Row = {"calibration": x, "preserve": "function", "seed": seed, "progress": False}
            return compress(model, widths, **options).model

        def error(slim: nn.Module, net: nn.Module = net, test: Tensor = test) -> float:
            with torch.no_grad():
                return float((slim(test) - net(test)).norm() / net(test).norm())

        rows += compared(net, x, (0.25, 0.125, 0.0625), make, error, f"digits, seed {seed}")
    return rows


def on_encoder() -> list[Row]:
    """Compare on the sentence encoder with greedy selection and refit, which takes a minute a plan."""
    from minilm_data import batches, corpus, embeddings, encoder

    sentences, model = corpus(), encoder()
    calibration, test = batches(sentences.calibration.texts), batches(sentences.test.texts)
    full = embeddings(model, test)

    def make(model: nn.Module, widths: Any) -> nn.Module:
        return compress_baseline(model, widths, calibration=calibration, method="greedy").model.eval()

    def error(slim: nn.Module) -> float:
        return float((embeddings(slim, test) - full).norm() / full.norm())

    return compared(model, calibration, (0.5, 0.25), make, error, "encoder, greedy + refit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print("| model | fraction | uniform | allocated | of uniform | parameters | widths |\n|" + "---|" * 7)
    table = on_encoder() if given.encoder else on_digits(given.seeds)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1))
