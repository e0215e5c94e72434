"""What an annotator asks a job to do: one class for each kind of long work."""
