"""The settings of jobs that an annotator starts: one class for each kind of job."""
