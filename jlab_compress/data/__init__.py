"""Weighted subsets that stand for whole data sets."""
