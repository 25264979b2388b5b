"""What `metric/train.py` trains with: losses, heads on pooled features, whole trunks, run folders."""
