"""What an ONNX file says about itself, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jlab_compress.deployment.program.axes import BATCH

PRECISIONS = ("float32", "float16", "int8")
# Types by numpy's name, as the Open Inference Protocol, version 2, spells them.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


@dataclass(frozen=True)
class Port:
    """One input or output of a file.

    Parameters
    ----------
    name : str
        As a client spells it.
    dtype : str
        numpy's name, for example "float32".
    shape : tuple of str or int
        A name for an axis that varies, a number for one that does not.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Form:
    """What a file says about itself.

    Parameters
    ----------
    opset, ir_version : int
        Versions of the operator set and of the file format.
    inputs, outputs : tuple of Port
        In the file's order.
    metadata : mapping of str to str
        Where the file comes from.
    """

    opset: int
    ir_version: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    @property
    def is_batched(self) -> bool:
        """Whether all inputs and outputs have the batch as their first axis, so requests can be joined."""
        return all(port.shape[:1] == (BATCH,) for port in (*self.inputs, *self.outputs))
