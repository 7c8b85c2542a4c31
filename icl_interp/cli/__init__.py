"""The command lines. Heavy imports happen after arguments are read."""
