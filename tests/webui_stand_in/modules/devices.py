"""Where a task computes (devices.py:70-74), and freeing memory."""

collected = 0
"""How often memory was freed."""


def get_device_for(task: str) -> str:
    """Return the device of a task; the real one is a torch.device with this text."""
    return "cpu"


def torch_gc() -> None:
    """Free the graphics card's memory."""
    global collected
    collected += 1
