"""How fast it is.  Not in the wheel."""
