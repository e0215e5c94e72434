"""CamVid with held-out classes."""
