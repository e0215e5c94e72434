"""Jobs that a session starts by itself: calibration, meta classifier, search, clusters."""
