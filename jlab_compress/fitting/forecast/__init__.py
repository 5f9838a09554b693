"""Expected errors against width, without fitting."""
