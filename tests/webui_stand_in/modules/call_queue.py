"""The lock around everything that computes (call_queue.py:8)."""

from threading import Lock

queue_lock = Lock()
