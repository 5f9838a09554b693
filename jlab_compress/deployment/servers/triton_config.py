"""NVIDIA Triton's configuration of a model, from what the ONNX file says itself."""

from __future__ import annotations

import json

from jlab_compress.deployment.onnx.form import DATATYPES, Form, Port
from jlab_compress.deployment.program.signature import Arrays, Feeds

LARGEST_BATCH = 64
KEPT_VERSIONS = 2


def triton_config(name: str, form: Form, example: Feeds) -> str:
    """Return the config.pbtxt of a model for NVIDIA Triton: dynamic batching, warm-up, version policy.

    Parameters
    ----------
    name : str
        The model's folder.
    form : Form
        Inputs, outputs and axes.
    example : mapping of str to ndarray
        One batch; the warm-up has the sizes of its axes.
    """
    batched = form.is_batched
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {LARGEST_BATCH if batched else 0}",
        *(_port("input", port, batched) for port in form.inputs),
        *(_port("output", port, batched) for port in form.outputs),
        f"version_policy {{ latest {{ num_versions: {KEPT_VERSIONS} }} }}",
    ]
    if batched:
        lines.append("dynamic_batching { max_queue_delay_microseconds: 500 }")
        lines += [_warmup(form, example, batch) for batch in (1, LARGEST_BATCH)]
    return "\n".join(lines) + "\n"


def _port(side: str, port: Port, batched: bool) -> str:
    dims = [-1 if isinstance(size, str) else size for size in port.shape[batched:]]
    reshape = "" if dims else " reshape { shape: [ ] }"
    shape = ", ".join(map(str, dims or [1]))
    kind = f"TYPE_{DATATYPES[port.dtype]}"
    return f"{side} [ {{ name: {_quoted(port.name)} data_type: {kind} dims: [ {shape} ]{reshape} }} ]"


def _warmup(form: Form, example: Feeds, batch: int) -> str:
    entries = " ".join(
        f"inputs {{ key: {_quoted(port.name)} value {{ data_type: TYPE_{DATATYPES[port.dtype]} "
        f"dims: [ {', '.join(map(str, example[port.name].shape[1:])) or '1'} ] zero_data: true }} }}"
        for port in form.inputs
    )
    return f'model_warmup [ {{ name: "batch {batch}" batch_size: {batch} {entries} }} ]'


def _quoted(name: str) -> str:
    """Return a name as text of a pbtxt, in UTF-8 and without the escapes that only JSON has."""
    return json.dumps(name, ensure_ascii=False)


def as_served(feeds: Feeds, form: Form) -> Arrays:
    """Return arrays as clients of the server send them: a batch of single numbers gets an axis of 1."""
    return {
        name: array[:, None] if form.is_batched and array.ndim == 1 else array
        for name, array in feeds.items()
    }
