"""Preference pairs of the paper's baselines, from answers that the fine-tuned model samples."""
