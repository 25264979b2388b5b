"""Priors, context models and the coders that walk them: one walk for training, encoding and decoding."""
