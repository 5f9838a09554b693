"""What is measured while they train."""
