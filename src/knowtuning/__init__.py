"""KnowTuning: knowledge-aware fine-tuning of large language models (Lyu et al., EMNLP 2024)."""
