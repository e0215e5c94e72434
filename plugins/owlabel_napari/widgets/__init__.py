"""The widgets of the panel, one a file."""
