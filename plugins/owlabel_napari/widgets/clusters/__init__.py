"""Widgets for clusters."""
