"""The annotator's acts on labels, tags, proposed masks, models and settings."""
