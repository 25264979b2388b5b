"""The shared records, their file formats, the study folder, and which pairs to show next."""
