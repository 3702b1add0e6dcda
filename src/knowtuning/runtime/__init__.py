"""What every stage with a model uses: the machine, loading, prompts, state that survives a kill."""
