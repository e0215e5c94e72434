"""What every part of a session uses: acts, and the link to the worker."""
