"""Tables and pictures of results; the only place that imports matplotlib."""
