"""IPython magics and cards."""
