"""Tangent kernels of one layer."""
