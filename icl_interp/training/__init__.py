"""Training, in as much as the models that are measured need it."""
