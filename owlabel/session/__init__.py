"""One annotator's session on a project, without a window."""
