"""Fits of few weighted neurons to one wide layer, from its tensors and its inputs; knows no module."""
