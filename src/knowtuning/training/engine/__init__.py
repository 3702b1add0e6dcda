"""What supervised fine-tuning and preference learning share: rows, adapters, trainers, checkpoints."""
