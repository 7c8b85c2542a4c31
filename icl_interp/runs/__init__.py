"""Run folders on disk: their contents, and the runs that a path names."""
