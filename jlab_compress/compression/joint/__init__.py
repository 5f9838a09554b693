"""Refine several slim blocks together."""
