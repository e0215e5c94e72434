"""The annotator's acts: labels, tags, proposed masks."""
