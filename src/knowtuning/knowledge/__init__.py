"""Facts: extraction, difficulty, augmentation, comparison."""
