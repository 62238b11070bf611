"""Folders at scale: pictures stream through workers on this machine or on a cluster (Ray Data)."""
