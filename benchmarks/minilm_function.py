"""All six FFNs of a sentence encoder made slimmer for deploy-only use, beside plain methods.

    python benchmarks/minilm_function.py            # widths 1/2, 1/4, 1/8, three draws; an hour on two cores
    python benchmarks/minilm_function.py --seeds 1 --fractions 2    # less of it; --methods chooses some
    python benchmarks/minilm_function.py --quick    # width 1/4, one draw, three methods
    python benchmarks/minilm_function.py --json out.json

Calibration: 512 sentences. Error: ||e_slim - e|| / ||e|| of mean-pooled, normalised embeddings of 384 other
sentences. "greedy + affine refit" is the bar: every FFN on its own, on all calibration tokens, ridge 1e-8.
A seed draws other sentences to calibrate and to judge; means are shown. Torch-Pruning runs where it is
installed.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from minilm_data import batches, corpus, embeddings, encoder
from torch import Tensor, nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns

Batches = list[dict[str, Tensor]]
BAR = "greedy + affine refit"
QUICK = (BAR, 'preserve="function"', "magnitude")
FFNS = [f"encoder.layer.{i}" for i in range(6)]


@torch.no_grad()
def greedy_affine(model: nn.Module, width: int, calibration: Batches) -> nn.Module:
    """Cut every FFN by greedy selection and an affine refit on the original's own inputs."""
    slim = copy.deepcopy(model)
    for name in FFNS:
        layer: Any = slim.get_submodule(name)
        tokens = ffn_inputs(model, name, calibration).double()
        hidden = nn.functional.gelu(
            nn.functional.linear(tokens, *map(doubled, weights(layer.intermediate.dense)))
        )
        outputs = nn.functional.linear(hidden, *map(doubled, weights(layer.output.dense)))
        kept = greedy_columns(hidden - hidden.mean(dim=0), outputs - outputs.mean(dim=0), width)
        outgoing, bias = least_squares(hidden[:, kept], outputs, intercept=True)
        for linear, weight, offset in (
            (
                layer.intermediate.dense,
                layer.intermediate.dense.weight[kept],
                layer.intermediate.dense.bias[kept],
            ),
            (layer.output.dense, outgoing.T.float(), bias.float()),
        ):
            linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(offset.clone())
            linear.out_features, linear.in_features = weight.shape
    return slim


def weights(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight, linear.bias


def doubled(tensor: Tensor) -> Tensor:
    return tensor.double()


def ffn_inputs(model: nn.Module, name: str, data: Batches) -> Tensor:
    rows: list[Tensor] = []
    masks = [batch["attention_mask"].bool() for batch in data]
    hook = model.get_submodule(f"{name}.intermediate").register_forward_hook(
        lambda module, args, output: rows.append(args[0])
    )
    for batch in data:
        model(**batch)
    hook.remove()
    return torch.cat([row[mask] for row, mask in zip(rows, masks, strict=True)])


def torch_pruning(model: nn.Module, width: int, calibration: Batches) -> nn.Module:
    """Prune by group-L2 norm with Torch-Pruning, FFNs only."""
    import torch_pruning as tp

    slim: Any = copy.deepcopy(model)
    example = {key: value[:2] for key, value in calibration[0].items()}
    linears = [slim.get_submodule(f"{name}.intermediate.dense") for name in FFNS]
    others = [
        m
        for m in slim.modules()
        if isinstance(m, nn.Linear | nn.Embedding | nn.LayerNorm) and m not in linears
    ]
    readers = [slim.get_submodule(f"{name}.output.dense") for name in FFNS]
    tp.pruner.BasePruner(
        slim,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio_dict={linear: 1 - width / linear.out_features for linear in linears},
        pruning_ratio=0.0,
        ignored_layers=[m for m in others if m not in readers] + readers,
        output_transform=lambda out: out.last_hidden_state,
    ).step()
    return slim


def methods() -> dict[str, Callable[[nn.Module, int, Batches, int], nn.Module]]:
    """Return the ways to make a slim model, by name; each takes (model, width, calibration, seed)."""

    def plain(method: str) -> Callable[[nn.Module, int, Batches, int], nn.Module]:
        return lambda model, width, data, seed: (
            compress_baseline(model, width, calibration=data, method=method, seed=seed).model
        )

    found: dict[str, Callable[[nn.Module, int, Batches, int], nn.Module]] = {
        BAR: lambda model, width, data, seed: greedy_affine(model, width, data),
        'preserve="function"': lambda model, width, data, seed: (
            compress(model, width, calibration=data, preserve="function", seed=seed, progress=False).model
        ),
        "magnitude": plain("magnitude"),
    }
    found |= {name: plain(name) for name in ("random", "k-means", "interpolative", "nnls")}
    if find_spec("torch_pruning"):
        found["Torch-Pruning (L2)"] = lambda model, width, data, seed: torch_pruning(model, width, data)
    return found


def measure(names: list[str], seeds: int, fractions: list[int]) -> list[dict[str, Any]]:
    """Return one row per method and width, each a mean over draws of the sentences."""
    model = encoder()
    draws = [corpus(seed) for seed in range(seeds)]
    data = [(batches(d.calibration.texts), batches(d.test.texts)) for d in draws]
    full = [embeddings(model, test) for _, test in data]
    rows = []
    for fraction in fractions:
        bar = None
        for name in names:
            errors, cosines, seconds = [], [], []
            for seed, (calibration, test) in enumerate(data):
                start, cpu = time.perf_counter(), time.process_time()
                slim = methods()[name](model, 1536 // fraction, calibration, seed).eval()
                seconds.append((time.perf_counter() - start, time.process_time() - cpu))
                made = embeddings(slim, test)
                errors.append(float((made - full[seed]).norm() / full[seed].norm()))
                cosines.append(float((made * full[seed]).sum(dim=1).mean()))
            error = sum(errors) / len(errors)
            bar = error if name == BAR else bar
            rows.append(
                {
                    "width": f"1/{fraction}",
                    "method": name,
                    "error": error,
                    "errors": errors,
                    "of the bar": float("nan") if bar is None else error / bar,
                    "cosine": sum(cosines) / len(cosines),
                    "seconds": max(s for s, _ in seconds),
                    "cpu seconds": max(c for _, c in seconds),
                    "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                }
            )
            print(line(rows[-1]), flush=True)
    return rows


COLUMNS = ("width", "method", "error", "of the bar", "cosine", "seconds", "cpu seconds", "peak GB")


def line(row: dict[str, Any]) -> str:
    cells = [
        f"{row[c]:.3f}" if isinstance(row[c], float) and c not in COLUMNS[5:7] else row[c] for c in COLUMNS
    ]
    return "| " + " | ".join(f"{c:.0f}" if isinstance(c, float) else str(c) for c in cells) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fractions", type=int, nargs="*")
    parser.add_argument("--methods", nargs="*", choices=methods())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    names = given.methods or [name for name in methods() if not given.quick or name in QUICK]
    fractions = given.fractions or ([4] if given.quick else [2, 4, 8])
    table = measure(names, 1 if given.quick else given.seeds, fractions)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2))
