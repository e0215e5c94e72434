"""Read images from files."""
