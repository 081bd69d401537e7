"""Diffusion models for sequential recommendation: train, compare, trust and use them."""

__version__ = "0.1.0"
