"""Whether answers hold and which is better: by a ground truth, or by a teacher (the paid part)."""
