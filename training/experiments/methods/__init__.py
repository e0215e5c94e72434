"""One experiment for each method."""
