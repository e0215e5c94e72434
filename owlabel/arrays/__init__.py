"""Shared arithmetic on label maps and embedding grids."""
