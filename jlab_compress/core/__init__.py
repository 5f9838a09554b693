"""Clouds of weighted objects and their reduction; knows tensors, no network."""
