"""Train two models side by side on the same batches."""
