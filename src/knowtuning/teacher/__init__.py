"""The teacher: typed tasks and the backends that answer them."""
