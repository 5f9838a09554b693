"""Which blocks of a model can be compressed, and why the others cannot."""
