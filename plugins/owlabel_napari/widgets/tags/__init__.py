"""Widgets to tag images."""
