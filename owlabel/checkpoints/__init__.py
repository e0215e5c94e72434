"""Headers of checkpoint files, read without torch."""
