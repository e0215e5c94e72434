"""What the annotator sees: the napari panel."""
