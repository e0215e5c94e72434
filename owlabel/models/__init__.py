"""Networks: the only package in owlabel that imports torch."""
