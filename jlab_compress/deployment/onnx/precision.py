"""Smaller numbers in a finished ONNX file: float16 weights, or int8 by dynamic or static ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from jlab_compress.deployment.onnx.files import write_graph
from jlab_compress.deployment.program.signature import Feeds
from jlab_compress.deployment.program.torch_export import quiet_exporter

KEPT_IN_FLOAT32 = ["LayerNormalization"]  # its variance overflows in float16; onnxruntime crashes on it
CHANGED_BY_NODE = ("Gemm", *KEPT_IN_FLOAT32)
QUANTIZED = ["Conv", "Gemm", "MatMul"]


def convert(source: Path, target: Path, precision: str, calibration: Iterable[Feeds] | None = None) -> None:
    """Write a file again in a smaller precision; its inputs and outputs keep their types.

    Parameters
    ----------
    source, target : Path
        A float32 file, and the one to write.
    precision : {"float16", "int8"}
        int8 has ranges measured per request (dynamic), or fixed beforehand where `calibration` is given
        (static: faster, and wrong for inputs outside the calibrated ranges).
    calibration : iterable of mapping of str to ndarray, optional
        Batches by input name.
    """
    graph = onnx.load(str(source))
    _unshare(graph.graph)
    with quiet_exporter():
        if precision == "float16":
            kept = [*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FLOAT32]
            half = OnnxModel(convert_float_to_float16(graph, keep_io_types=True, op_block_list=kept))
            half.topological_sort()
            write_graph(half.model, target)
            return
        prepared = target.with_name(f"prepared-{target.name}")
        write_graph(graph, prepared)
        if calibration is None:
            quantize_dynamic(prepared, target, QUANTIZED, per_channel=True, weight_type=QuantType.QInt8)
        else:
            quantize_static(
                prepared,
                target,
                _Batches(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTIZED,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )


def _unshare(graph: onnx.GraphProto) -> None:
    """Give every node of some kinds its own copy of the weights that it shares with another node.

    The exporter stores equal weights once. onnxruntime's converters change weights and name casts node by
    node: they transpose the shared weight of two Gemm nodes twice, and add one cast twice.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    users = Counter(name for node in graph.node for name in node.input)
    for number, node in enumerate(graph.node):
        if node.op_type not in CHANGED_BY_NODE:
            continue
        for place, name in enumerate(node.input):
            if name in stored and users[name] > 1:
                users[name] -= 1
                own = graph.initializer.add()
                own.CopyFrom(stored[name])
                own.name = node.input[place] = f"{name}_{number}"


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches one by one, as onnxruntime asks for them."""

    def __init__(self, batches: Iterable[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)
