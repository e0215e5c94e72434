"""Arithmetic on label maps and embedding grids that several capabilities share."""
