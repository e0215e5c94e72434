"""Acts, and the link to the worker: what every part of a session uses."""
