"""Commands in modules of their own; each is registered by one line in `owlabel.cli`."""
