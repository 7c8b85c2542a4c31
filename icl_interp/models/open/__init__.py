"""Other people's modules, measured as models of ours are."""
