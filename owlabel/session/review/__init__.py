"""The review queue and the scores of the current image."""
