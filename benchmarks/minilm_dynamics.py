"""Does a slim sentence encoder train like the original? One FFN, and all six, at half width.

    python benchmarks/minilm_dynamics.py              # 48 steps, two seeds; hours on two cores
    python benchmarks/minilm_dynamics.py --quick      # 6 steps, one seed
    python benchmarks/minilm_dynamics.py --json out.json

The task: from which of six packages does a sentence come? All parameters are trained, a random linear head on
the mean of the tokens included, without dropout. Printed is the training gap of the logits of held-out
sentences, ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0||, and as the yardstick that of the same
original under another batch order. Every method sees the same 512 calibration sentences; none sees labels.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from minilm_data import SOURCES, Sentences, batches, corpus, encoder
from torch import Tensor, nn

from jlab_compress import Aim, compress, compress_baseline
from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.aims.baselines import greedy_refit
from jlab_compress.fitting.aims.function import with_shared_mass
from jlab_compress.fitting.fit import Fit

WIDTH = 768
ONE = {"encoder.encoder.layer.2.intermediate.dense": WIDTH}
PLANS: dict[str, Any] = {"one FFN": ONE, "all six FFNs": WIDTH}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.02),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=3e-5, weight_decay=0.01),
}
Make = Callable[[nn.Module, Any, list[dict[str, Tensor]], int], nn.Module]
Labelled = list[tuple[dict[str, Tensor], Tensor]]


class Classifier(nn.Module):
    """The encoder, the mean over its tokens and a linear head."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.encoder = encoder()
        self.head = nn.Linear(384, len(SOURCES))
        generator = torch.Generator().manual_seed(seed)
        nn.init.uniform_(self.head.weight, -(384**-0.5), 384**-0.5, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        shares = attention_mask[:, :, None].to(hidden)
        logits: Tensor = self.head((hidden * shares).sum(dim=1) / shares.sum(dim=1))
        return logits


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: batch[key] for key in ("input_ids", "attention_mask")}


def labelled(sentences: Sentences) -> Labelled:
    found = batches(sentences.texts, by_length=False)
    labels = torch.tensor(sentences.labels).split(32)
    return [(inputs_of(batch), label) for batch, label in zip(found, labels, strict=True)]


def greedy_weighted(site: Site, size: int) -> Fit:
    """Greedy selection with refit, every neuron counted n / s times."""
    made = greedy_refit(site.layer, site.inputs, size, seed=site.seed)
    return replace(made, layer=with_shared_mass(made.layer, site.layer))


def aimed(preserve: str | Aim) -> Make:
    return lambda model, widths, data, seed: (
        compress(model, widths, calibration=data, preserve=preserve, seed=seed, progress=False).model
    )


def plain(method: str) -> Make:
    return lambda model, widths, data, seed: (
        compress_baseline(model, widths, calibration=data, method=method, seed=seed).model
    )


METHODS: dict[str, Make] = {
    "greedy + refit, c = 1": plain("greedy"),
    "greedy + refit, c = n/s": aimed(Aim("greedy weighted", greedy_weighted)),
    "random subset": plain("random"),
    "k-means merge": plain("k-means"),
    "outputs-only NNLS": plain("nnls"),
    'preserve="dynamics"': aimed("dynamics"),
}


def movement(
    model: nn.Module, data: Labelled, held: Labelled, optimizer: str, order: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the held-out logits before training, and how far training moved them."""
    trained = copy.deepcopy(model).eval()
    opt = OPTIMIZERS[optimizer](trained.parameters())
    before = logits(trained, held)
    for number in order.tolist():
        inputs, labels = data[number]
        opt.zero_grad()
        nn.functional.cross_entropy(trained(**inputs), labels).backward()
        opt.step()
    return before, logits(trained, held) - before


@torch.no_grad()
def logits(model: nn.Module, data: Labelled) -> Tensor:
    return torch.cat([model(**inputs) for inputs, _ in data])


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per plan, method, optimizer and seed."""
    sentences = corpus()
    data, held = labelled(sentences.task), labelled(sentences.test)[: 2 if given.quick else 12]
    calibration = [inputs_of(batch) for batch in batches(sentences.calibration.texts)]
    rows: list[dict[str, Any]] = []
    for seed in range(given.first, given.first + (1 if given.quick else given.seeds)):
        model = Classifier(seed).eval()
        orders = [
            torch.randperm(len(data), generator=torch.Generator().manual_seed(100 * seed + i))[: given.steps]
            for i in range(2)
        ]
        full = {name: movement(model, data, held, name, orders[0]) for name in OPTIMIZERS}
        for name, (start, moved) in full.items():
            other = movement(model, data, held, name, orders[1])[1]
            rows.append(row("another batch order", "yardstick", name, seed, (start, other), (start, moved)))
        for plan in given.plans:
            for method in given.methods:
                slim = METHODS[method](model, PLANS[plan], calibration, seed)
                for name in OPTIMIZERS:
                    mine = movement(slim, data, held, name, orders[0])
                    rows.append(row(plan, method, name, seed, mine, full[name]))
    return rows


def row(
    plan: str,
    method: str,
    optimizer: str,
    seed: int,
    mine: tuple[Tensor, Tensor],
    full: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    gap = float((mine[1] - full[1]).norm() / full[1].norm())
    function = float((mine[0] - full[0]).norm() / full[0].norm())
    print(f"| {plan} | {method} | {optimizer} | {seed} | {gap:.3f} | {function:.3f} |", flush=True)
    return {
        "plan": plan,
        "method": method,
        "optimizer": optimizer,
        "seed": seed,
        "training gap": gap,
        "function gap": function,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--plans", nargs="*", choices=PLANS, default=list(PLANS))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.steps = given.steps or (6 if given.quick else 48)
    print("| plan | method | optimizer | seed | training gap | function gap |\n|---|---|---|---|---|---|")
    table = measure(given)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2))
