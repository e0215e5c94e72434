"""PLM: a head for a novel class from a few shots."""
