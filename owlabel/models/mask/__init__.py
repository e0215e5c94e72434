"""Mask transformers, which learn masks from image tags."""
