"""Widgets to train and compare models."""
