"""What `eyetune score` says of a metric: agreement, likelihood, tests, robustness, the page."""
