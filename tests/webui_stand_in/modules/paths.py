"""Where the WebUI keeps what it writes (paths.py:3, paths_internal.py:23)."""

data_path = ""
models_path = ""
