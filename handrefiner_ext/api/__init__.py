"""HTTP: routes of our own, and the check of the WebUI's generation requests.

Nothing here knows the WebUI; what belongs to it comes in as `services.Services`.
"""

PREFIX = "/handrefiner/v1"
