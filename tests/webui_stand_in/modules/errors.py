"""Exceptions that the host swallows: it prints them, and here tests can read them, too."""

reported: list[BaseException] = []


def report(fault: BaseException) -> None:
    """Take note of an exception that goes no further."""
    reported.append(fault)
