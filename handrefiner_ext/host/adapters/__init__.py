"""One adapter for each WebUI: A1111, Forge, reForge, Forge Classic.

`protocol.py` says what an adapter answers for, `choose.py` takes the one that fits what is there.
What is the same everywhere stands outside of this folder.
"""
