"""Runs over picture files."""
