"""Layers, overlays, pointer and keys."""
