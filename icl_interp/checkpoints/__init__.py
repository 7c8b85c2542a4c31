"""Checkpoints on disk: our own format, and foreign ones with one reader per file.

Nothing is imported here. Readers check a file completely before they import TransformerLens, so that a bad
file is refused within the time that torch takes to start.
"""
