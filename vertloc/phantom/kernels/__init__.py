"""Kernels that paint synthetic scans, under the rules of `vertloc/kernels`."""
