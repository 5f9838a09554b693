"""The files that inference servers expect around a model: written from what the ONNX file says itself."""

from __future__ import annotations

import json
from collections.abc import Iterable

from jlab_compress.deployment.onnx.files import Form, Port
from jlab_compress.deployment.onnx.parity import Arrays, Feeds
from jlab_compress.deployment.onnx.signature import BATCH

LARGEST_BATCH = 64
KEPT_VERSIONS = 2
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


def triton_config(name: str, form: Form, sizes: dict[str, int]) -> str:
    """Return the config.pbtxt of a model for NVIDIA Triton: dynamic batching, warm-up, version policy.

    Parameters
    ----------
    name : str
        The model's folder.
    form : Form
        Inputs, outputs and axes.
    sizes : dict of str to int
        Size of each varying axis for the warm-up.
    """
    batched = is_batched(form)
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {LARGEST_BATCH if batched else 0}",
        *(_triton_port("input", port, batched) for port in form.inputs),
        *(_triton_port("output", port, batched) for port in form.outputs),
        f"version_policy {{ latest {{ num_versions: {KEPT_VERSIONS} }} }}",
    ]
    if batched:
        lines.append("dynamic_batching { max_queue_delay_microseconds: 500 }")
        lines += [_triton_warmup(form.inputs, sizes, batch) for batch in (1, LARGEST_BATCH)]
    return "\n".join(lines) + "\n"


def _triton_port(side: str, port: Port, batched: bool) -> str:
    dims = [-1 if isinstance(size, str) else size for size in port.shape[batched:]]
    reshape = "" if dims else " reshape { shape: [ ] }"
    shape = ", ".join(map(str, dims or [1]))
    kind = f"TYPE_{DATATYPES[port.dtype]}"
    return f"{side} [ {{ name: {json.dumps(port.name)} data_type: {kind} dims: [ {shape} ]{reshape} }} ]"


def as_served(feeds: Feeds, form: Form) -> Arrays:
    """Return arrays as clients of the server send them: a batch of single numbers gets an axis of 1."""
    single = is_batched(form)
    return {name: array[:, None] if single and array.ndim == 1 else array for name, array in feeds.items()}


def is_batched(form: Form) -> bool:
    """Return whether all inputs and outputs have the batch as their first axis, so requests can be joined."""
    return all(port.shape[:1] == (BATCH,) for port in (*form.inputs, *form.outputs))


def _triton_warmup(inputs: Iterable[Port], sizes: dict[str, int], batch: int) -> str:
    entries = " ".join(
        f"inputs {{ key: {json.dumps(port.name)} value {{ data_type: TYPE_{DATATYPES[port.dtype]} "
        f"dims: [ {', '.join(str(sizes.get(str(size), size)) for size in port.shape[1:]) or '1'} ] "
        "zero_data: true } }"
        for port in inputs
    )
    return f'model_warmup [ {{ name: "batch {batch}" batch_size: {batch} {entries} }} ]'


def kserve_service(name: str) -> str:
    """Return the InferenceService for KServe's Triton runtime over the same folder."""
    return f"""# The folder that holds {name}/ goes to storage that the cluster reads; put its address below.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name.lower().replace("_", "-").replace(".", "-")}
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      protocolVersion: v2
      runtime: kserve-tritonserver
      storageUri: pvc://models
"""


def openvino_config(name: str) -> str:
    """Return the configuration of OpenVINO Model Server for the folder mounted at /models."""
    entry = {"config": {"name": name, "base_path": f"/models/{name}"}}
    return json.dumps({"model_config_list": [entry]}, indent=2) + "\n"
