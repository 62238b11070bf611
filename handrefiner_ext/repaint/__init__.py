"""Repaint the hands of a picture: how often it is painted, and what of it is kept."""
