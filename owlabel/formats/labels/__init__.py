"""Formats of label maps, one file each."""
