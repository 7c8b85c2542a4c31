"""Carroll et al. (2025), Dynamics of Transient Structure in In-Context Linear Regression; start at paper.py."""
