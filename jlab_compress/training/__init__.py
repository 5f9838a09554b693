"""What a training loop needs of a slim model: sums over copies, rates, optimizer state."""
