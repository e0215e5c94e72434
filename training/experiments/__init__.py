"""The experiments behind the tables of docs/results.  Not in the wheel."""
