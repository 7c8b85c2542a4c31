"""One model, all measures, each with its controls, from one set of prompts."""
