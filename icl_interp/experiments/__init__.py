"""Papers as experiments: setting, runs, and claims that are judged by numbers alone."""
