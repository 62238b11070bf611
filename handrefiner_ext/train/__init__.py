"""Trains a hand ControlNet on the pictures of `handrefiner dataset`.

The method is the one of Lu et al. 2023 (arXiv 2311.17957).
"""
