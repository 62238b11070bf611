"""The host's version (launch_utils.py)."""


def git_tag() -> str:
    """Return the version as git describes it."""
    return "v1.10.1"
