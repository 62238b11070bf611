"""The prompt of one region, from what the user wrote for the hands."""

from __future__ import annotations

from collections.abc import Sequence

PICTURE, SEPARATOR = "[PROMPT]", "[SEP]"


def prompt_for(template: str, picture_prompt: str, numbers: Sequence[int]) -> str:
    """The prompt for the hands `numbers` (as users count them, from 1), which share a region.

    Each hand has its part of the template; where there are fewer parts, the last goes on. An empty
    part is the picture's own prompt.
    """
    parts = [part.strip() for part in template.split(SEPARATOR)]
    chosen = [parts[min(number, len(parts)) - 1] or PICTURE for number in numbers]
    return ", ".join(dict.fromkeys(chosen)).replace(PICTURE, picture_prompt)
