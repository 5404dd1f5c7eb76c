"""Searches of recipes: the learning rate and warm-up with which each model trains best (the command `tune`)."""
