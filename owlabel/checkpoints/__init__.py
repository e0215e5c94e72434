"""What a checkpoint file says of itself, read without torch."""
