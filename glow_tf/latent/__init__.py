"""Samples and pictures of them."""
