"""Training jobs that the annotator starts, and their results."""
