"""A model as a program of torch: its inputs by name, its layers folded, exported, compared."""
