"""The kernel side of the side panel."""
