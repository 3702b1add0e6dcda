"""The base model: a small one trained from scratch, or one of the hub, pinned."""
