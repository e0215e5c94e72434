"""One annotator's work on a project.  Knows no window."""
