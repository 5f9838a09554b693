"""Fit the blocks of a running model."""
