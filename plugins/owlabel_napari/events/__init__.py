"""Connections, messages, deferred work."""
