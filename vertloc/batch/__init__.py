"""Many scans in a row: predicting them, and the manifest that tells how it went."""
