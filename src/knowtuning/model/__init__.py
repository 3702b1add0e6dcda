"""What every stage with a language model shares: hardware, loading, prompts, batches, resuming."""
