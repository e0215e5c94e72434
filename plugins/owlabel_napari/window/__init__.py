"""The panel and what it puts together."""
