"""Tables and pictures of the evidence."""
