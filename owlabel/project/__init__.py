"""One annotation project: a folder with one database and its caches."""
