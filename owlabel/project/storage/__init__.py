"""The database, its migrations, and the cache of embeddings."""
