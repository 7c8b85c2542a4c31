"""Huang, Cheng and Liang (2024), In-Context Convergence of Transformers; start at paper.py."""
