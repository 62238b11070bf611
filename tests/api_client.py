"""A small application with our routes, and requests to it."""

from __future__ import annotations

import asyncio
import base64
import io

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from handrefiner_ext.api.routes import PREFIX, add_routes
from handrefiner_ext.api.worker import Services


class Client:
    """Talks to an application in this process, without a server or a port."""

    def __init__(self, app):
        self.app = app

    def request(self, method, path, **options):
        return asyncio.run(self._request(method, path, options))

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    async def _request(self, method, path, options):
        cookies = options.pop("cookies", None)
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://here", cookies=cookies
        ) as client:
            return await client.request(method, path, **options)


def make_client(services=None, app=None):
    app = app or FastAPI()
    add_routes(app, services or Services())
    return Client(app)


def to_text(image, format="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def to_array(text):
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))


def ask(client, path, **body):
    return client.post(PREFIX + path, json=body)
