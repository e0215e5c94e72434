"""Networks.  The only place in owlabel that imports torch."""
