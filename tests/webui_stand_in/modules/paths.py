"""Where the WebUI keeps what it writes (paths.py:3)."""

data_path = ""
