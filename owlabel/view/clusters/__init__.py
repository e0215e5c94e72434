"""The clusters of a data set as the annotator sees them."""
