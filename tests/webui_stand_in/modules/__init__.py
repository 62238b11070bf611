"""A small stand-in of AUTOMATIC1111's `modules`, version 1.10.1: what `handrefiner_ext.host` uses.

It is written from the host's behaviour, not from its code, and has two uses. pytest puts it on the
path, so that host/ and scripts/ run without a WebUI; mypy reads it as the types of `modules`, so
that code and tests see the same names and signatures. What it promises is marked with the place in
the host, such as "scripts.py:497". The real host (tests/webui) remains the proof.
"""
