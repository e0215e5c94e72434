"""What somebody else's package looks like: one object for each thing that it adds."""
