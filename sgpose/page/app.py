# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The page and the one question it asks: which poses are in this picture?

Everything is served from this package and kept in memory; nothing is written and nothing is
fetched from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..deploy.poses import Poses
from .image_gate import ImageRefused, Limits, decode_image
from .models import PoseModel

STATIC = Path(__file__).parent / "static"
MAX_BOXES = 20
# Other sites opened in the same browser reach this machine too. They are kept out by the names
# under which the page answers (against DNS that points at this machine) and by a content type
# that browsers only send across sites after asking, which this page never grants.
HOSTS = ["127.0.0.1", "localhost"]
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What to tell the user.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WithHeaders:
    """Middleware that adds `HEADERS` to every answer."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def parse_boxes(text: str, width: int, height: int) -> np.ndarray:
    """Read boxes as the page sends them, cut to the image.

    Args:
        text: Corners ``x1,y1,x2,y2`` in pixels, several boxes separated by ``;``. Empty for one
            box around the whole image.
        width: Of the image.
        height: Of the image.

    Returns:
        (N, 4) float32.

    Raises:
        ValueError: If they are not that, too many, or empty within the image.
    """
    if not text.strip(" ;"):
        return np.array([[0, 0, width, height]], np.float32)
    boxes = []
    for part in text.strip(" ;").split(";"):
        try:
            x1, y1, x2, y2 = (float(number) for number in part.split(","))
        except ValueError:
            raise ValueError(f"box {part.strip()!r} is not x1, y1, x2, y2 in pixels") from None
        box = np.array([x1, y1, x2, y2])
        inside = box.clip(0, [width, height, width, height])
        if not (np.isfinite(box).all() and x1 < x2 and y1 < y2 and (inside[2:] > inside[:2]).all()):
            raise ValueError(
                f"box {part.strip()!r} must have x1 < x2 and y1 < y2 and overlap the picture, "
                f"which is {width}x{height}"
            )
        boxes.append(inside)
    if len(boxes) > MAX_BOXES:
        raise ValueError(f"{len(boxes)} boxes are given, {MAX_BOXES} are allowed")
    return np.array(boxes, np.float32)


def as_json(poses: Poses, boxes: np.ndarray) -> dict:
    """Turn poses into plain lists, one entry of ``predictions`` per box."""

    def rounded(numbers: np.ndarray, digits: int) -> list:
        return np.round(numbers.astype(np.float64), digits).tolist()

    predictions = [
        dict(bbox=box, keypoints=keypoints, keypoint_scores=scores)
        for box, keypoints, scores in zip(
            rounded(boxes, 2), rounded(poses.keypoints, 2), rounded(poses.scores, 4)
        )
    ]
    if poses.guide_maps is not None:
        for person, box, maps in zip(
            predictions, rounded(poses.crops, 2), rounded(poses.guide_maps, 3)
        ):
            person["attention"] = dict(bbox=box, maps=maps)
    return dict(predictions=predictions)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read an upload, no further than the limit.

    Raises:
        ImageRefused: As soon as more than the limit has arrived.
    """
    body = bytearray()
    async for chunk in request.stream():
        limits.check_bytes(len(body) + len(chunk))
        body += chunk
    return bytes(body)


def make_app(models: Mapping[str, PoseModel], limits: Limits | None = None) -> Starlette:
    """Return the page as an ASGI application.

    ``GET /models`` lists the models; ``POST /pose?model=NAME&boxes=x1,y1,x2,y2;...`` with a picture
    as body and an ``image/*`` content type finds the poses in it. Pictures are worked on one after
    the other.

    Args:
        models: Name -> model, the default first.
        limits: What an upload may hold at most.
    """
    limits = limits or Limits()
    one_at_a_time = anyio.CapacityLimiter(1)

    def estimate(name: str, data: bytes, boxes: str) -> dict:
        model = models[name]
        try:
            image = decode_image(data, limits)
        except ImageRefused as error:
            raise Refused(415, str(error)) from error
        height, width = image.shape[:2]
        try:
            places = parse_boxes(boxes, width, height)
        except ValueError as error:
            raise Refused(422, str(error)) from error
        start = time.perf_counter()
        poses = model(image, places)
        seconds = round(time.perf_counter() - start, 3)
        return dict(
            model=name,
            width=width,
            height=height,
            seconds=seconds,
            keypoint_names=model.keypoint_names,
            skeleton_links=model.skeleton_links,
            **as_json(poses, places),
        )

    async def list_models(request: Request) -> JSONResponse:
        return JSONResponse(dict(models=list(models)))

    async def pose(request: Request) -> JSONResponse:
        name = request.query_params.get("model", next(iter(models)))
        if name not in models:
            raise Refused(404, f"there is no model {name!r}, only {', '.join(models)}")
        if not request.headers.get("content-type", "").startswith("image/"):
            raise Refused(415, "the content type must be image/jpeg or image/png")
        try:
            data = await read_body(request, limits)
        except ImageRefused as error:
            raise Refused(413, str(error)) from error
        boxes = request.query_params.get("boxes", "")
        return JSONResponse(
            await anyio.to_thread.run_sync(estimate, name, data, boxes, limiter=one_at_a_time)
        )

    async def refuse(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse(dict(error=str(error)), status_code=error.status)

    return Starlette(
        routes=[
            Route("/models", list_models),
            Route("/pose", pose, methods=["POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        middleware=[
            Middleware(WithHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
        ],
        exception_handlers={Refused: refuse},
    )
