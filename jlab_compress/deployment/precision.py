"""Smaller numbers in a finished ONNX file: float16 weights, or int8 by dynamic or static ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from jlab_compress.deployment.fileformat import write_graph
from jlab_compress.deployment.tracing import quiet_exporter

PRECISIONS = ("float32", "float16", "int8")
QUANTIZED = ["Conv", "Gemm", "MatMul"]
Feeds = Mapping[str, NDArray[Any]]


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
    with quiet_exporter():
        if precision == "float16":
            half = OnnxModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
            half.topological_sort()
            write_graph(half.model, target)
        elif calibration is None:
            quantize_dynamic(
                source, target, op_types_to_quantize=QUANTIZED, weight_type=QuantType.QInt8, per_channel=True
            )
        else:
            quantize_static(
                source,
                target,
                _Batches(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTIZED,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
            )


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches one by one, as onnxruntime asks for them."""

    def __init__(self, batches: Iterable[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)
