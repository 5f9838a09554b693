"""Few moved nodes that integrate like many objects."""
