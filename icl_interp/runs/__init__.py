"""Run folders on disk: what is in them, and which runs a path names."""
