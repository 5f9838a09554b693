"""Share one budget out over the blocks of a model."""
