"""A small base model from scratch, for runs without a published one."""
