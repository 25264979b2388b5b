"""The layers learned codecs are built of."""
