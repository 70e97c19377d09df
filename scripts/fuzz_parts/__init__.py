"""Doors to files, and what is done to what is put through them."""
