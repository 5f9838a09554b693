"""ONNX files, server repositories and servers to try them on."""
