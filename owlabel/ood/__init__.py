"""Out-of-distribution scores, their calibration, candidates and the meta classifier."""
