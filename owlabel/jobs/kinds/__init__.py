"""The jobs of this package, one file each."""
