"""From a model to a slim one."""
