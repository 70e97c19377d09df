"""Landmark files <-> Centroids: each format is one file and one line of `registry.FORMATS`."""
