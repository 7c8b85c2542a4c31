"""Prompt distributions: tasks, shifts of them, and the reference algorithms that matter for each."""
