"""Formats of image tags, one file each."""
