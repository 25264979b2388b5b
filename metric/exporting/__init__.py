"""Files that hand a metric out, and the one that `metric.load` reads."""
