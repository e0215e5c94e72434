"""How models are made, and made again.  Knows no window."""
