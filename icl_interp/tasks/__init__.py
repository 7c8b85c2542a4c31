"""Distributions of prompts: tasks, their shifts, and the reference predictors of each task."""
