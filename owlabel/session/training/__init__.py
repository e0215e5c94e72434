"""Training jobs that an annotator starts, and their results."""
