"""Labelled pictures of hands, rendered from a seed: for training, for measuring, for trying."""
