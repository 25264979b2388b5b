"""What `eyetune codec evaluate` computes, draws and writes."""
