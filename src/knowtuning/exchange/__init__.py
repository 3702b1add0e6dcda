"""Training data in the formats of other trainers, written and read: `python -m knowtuning.exchange`."""
