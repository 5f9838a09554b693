"""What reaches and leaves a block while a model runs."""
