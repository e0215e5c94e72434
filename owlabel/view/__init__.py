"""What one annotator sees: the current image, its scores, the queue."""
