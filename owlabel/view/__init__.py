"""What one annotator sees: the current image, its labels and scores, the review queue."""
