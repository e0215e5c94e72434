"""What a session starts on its own: calibration, meta classifier, clusters."""
