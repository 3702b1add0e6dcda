"""Named experiments, what runs them, and the study made from their results."""
