"""The parts of `scripts/bench.py`: each measures one promise against a baseline in the same run."""
