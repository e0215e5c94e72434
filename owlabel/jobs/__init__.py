"""Long work: what a job is, the queue in the database, the worker process."""
