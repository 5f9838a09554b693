"""Record what a model computes, and follow values through the record."""
