"""Answers of a system."""
