"""Doors to files: every format is read and written here, and checked here."""
