"""The widgets of the panel; a large tab has a folder."""
