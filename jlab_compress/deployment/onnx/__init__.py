"""ONNX files: export, parity, precision, costs."""
