"""The language model: loading, prompts, log-probabilities, training and answers.

The only place that knows torch.
"""
