"""The models that stand side by side in a validation, by name."""

from __future__ import annotations

ORIGINAL = "original"
SLIM = "slim"
REORDERED = "another batch order"
RANDOM = "random subset"
FUNCTION = "function only"
REFERENCES = (REORDERED, RANDOM, FUNCTION)
