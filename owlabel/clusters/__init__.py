"""Auxiliary labels: pixels of many images grouped by their features, without any class label."""
