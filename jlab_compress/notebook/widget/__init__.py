"""The panel in a cell."""
