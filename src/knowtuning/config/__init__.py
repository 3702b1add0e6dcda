"""Typed parameters: strict models of the sections of params.yaml, read by the stages alone."""
