"""The metric's network: trunks, their weights, the distance between features, its speed and its checks."""
