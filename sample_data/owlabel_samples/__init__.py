"""Procedural street scenes and a small checkpoint trained on them."""
