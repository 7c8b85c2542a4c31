"""Papers as experiments: the setting, the runs, and claims that are judged by numbers alone."""
