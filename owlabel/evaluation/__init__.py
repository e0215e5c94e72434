"""Evaluates a score on ground truth: data sets, errors of pixels and segments, the report."""
