"""The smallest transparent images, 1x1."""

from __future__ import annotations

import base64

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


def image(path: str) -> tuple[bytes, str]:
    """The image and content type a pixel path serves: PNG where it says so, else GIF."""
    return (PNG, "image/png") if path.endswith(".png") else (GIF, "image/gif")
