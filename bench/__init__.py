"""The harness: a cell becomes a row becomes a point. Of it only worker.py and what that imports load jax."""
