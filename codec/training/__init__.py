"""How learned codecs are trained: crops, distortions, one step, runs."""
