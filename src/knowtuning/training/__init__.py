"""Adapters: their rows, losses and training, and the log-probabilities that scoring shares with it."""
