"""Mask transformers: masks from image tags."""
