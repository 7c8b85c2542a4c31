"""Modules from elsewhere, measured like our models."""
