"""Proof that a slim model computes and trains like the original."""
