"""A trained system as files that other programs load: weights, chat template, card, serving."""
