"""Scans with their annotations: dataset layouts, fold files, the synthetic phantom cohort."""
