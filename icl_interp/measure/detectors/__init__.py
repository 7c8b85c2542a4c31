"""Which detector, if any, recognises unfamiliar prompts beyond its baselines?"""
