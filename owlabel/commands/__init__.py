"""Commands in their own modules; `owlabel.cli` registers each of them."""
