"""Answers of a system, by transformers or by a vLLM server."""
