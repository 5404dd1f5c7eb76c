"""The harness: a cell becomes a row becomes a point. Only worker.py and what it imports load jax; the parent never does."""
