"""Numba kernels: arrays and scalars in, arrays out; no validation, no strings, no objects."""
