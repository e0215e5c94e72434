"""Widgets to find and name: overlay, queue, candidate."""
