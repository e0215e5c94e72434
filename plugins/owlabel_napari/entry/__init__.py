"""The doors: command line, napari manifest, demo."""
