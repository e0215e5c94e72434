"""Clusters of a data set as the annotator sees them."""
