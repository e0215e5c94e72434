"""OWLabel: open-world labelling for segmentation.  Knows no window."""

__version__ = "0.1.0"
