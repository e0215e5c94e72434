"""Measuring a score against ground truth: data sets, errors of pixels and segments, the report."""
