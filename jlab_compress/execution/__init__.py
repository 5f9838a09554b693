"""Run a model in isolation: what it is called with, what it returns, how close two results are."""
