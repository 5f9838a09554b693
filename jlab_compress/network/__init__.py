"""Torch modules: what can be compressed, its tensors and inputs, and the slim model."""
