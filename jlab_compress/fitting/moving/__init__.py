"""Move nodes: the optimisation of neurons after they are chosen."""
