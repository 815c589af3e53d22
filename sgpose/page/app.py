# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The page and the one question it asks: which poses are in this picture?

Everything is served from this package and kept in memory; nothing is written and nothing is
fetched from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..deploy.poses import Poses
from .image_gate import ImageRefused, Limits, decode_image
from .models import PoseModel

STATIC = Path(__file__).parent / "static"
#: The example photograph, in an installed package and in a copy of the repository.
EXAMPLES = (STATIC / "example.jpg", STATIC.parents[2] / "docs/images/000000000785.jpg")
MAX_BOXES = 20
MIN_SIDE = 1.0  # pixels
READ_TIMEOUT = 10.0  # seconds without a byte of an upload
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
        large = (inside[2:] - inside[:2] >= MIN_SIDE).all()
        if not (np.isfinite(box).all() and x1 < x2 and y1 < y2 and large):
            raise ValueError(
                f"box {part.strip()!r} must have x1 < x2 and y1 < y2 and cover {MIN_SIDE:g} pixels "
                f"a side of the picture, which is {width}x{height}"
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
    if poses.guide_maps is not None and poses.crops is not None:
        for person, box, maps in zip(
            predictions, rounded(poses.crops, 2), rounded(poses.guide_maps, 3)
        ):
            person["attention"] = dict(bbox=box, maps=maps)
    return dict(predictions=predictions)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read an upload, no further than the limit.

    Raises:
        ImageRefused: As soon as more than the limit has arrived.
        Refused: If nothing arrives for `READ_TIMEOUT`.
    """
    body = bytearray()
    stream = request.stream().__aiter__()
    try:
        while True:
            with anyio.fail_after(READ_TIMEOUT):
                chunk = await stream.__anext__()
            limits.check_bytes(len(body) + len(chunk))
            body += chunk
    except StopAsyncIteration:
        return bytes(body)
    except TimeoutError as error:
        raise Refused(408, f"the upload stopped for {READ_TIMEOUT:g} seconds") from error


def make_app(
    models: Mapping[str, PoseModel],
    limits: Limits | None = None,
    detector: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Starlette:
    """Return the page as an ASGI application.

    ``GET /models`` lists the models; ``POST /pose?model=NAME&boxes=x1,y1,x2,y2;...`` with a picture
    as body and an ``image/*`` content type finds the poses in it, ``POST /people`` the people,
    where there is a detector. Pictures are worked on one after the other.

    Args:
        models: Name -> model, the default first.
        limits: What an upload may hold at most.
        detector: From an image (H, W, 3) in BGR to boxes (N, 4).
    """
    limits = limits or Limits()
    one_at_a_time = anyio.CapacityLimiter(1)
    example = next((path for path in EXAMPLES if path.is_file()), None)

    def decode(data: bytes) -> np.ndarray:
        try:
            return decode_image(data, limits)
        except ImageRefused as error:
            raise Refused(415, str(error)) from error

    def detect(data: bytes) -> dict:
        assert detector is not None
        image = decode(data)
        height, width = image.shape[:2]
        boxes = detector(image).astype(np.float64).clip(0, [width, height, width, height])
        large = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)
        return dict(boxes=np.round(boxes[large][:MAX_BOXES], 1).tolist())

    def estimate(name: str, data: bytes, boxes: str) -> dict:
        model = models[name]
        image = decode(data)
        height, width = image.shape[:2]
        start = time.perf_counter()
        try:
            places = parse_boxes(boxes, width, height)
            poses = model(image, places)
        except ValueError as error:
            raise Refused(422, str(error)) from error
        seconds = round(time.perf_counter() - start, 3)
        return dict(
            model=name,
            width=width,
            height=height,
            seconds=seconds,
            keypoint_names=model.keypoint_names,
            keypoint_colors=model.keypoint_colors,
            skeleton_links=model.skeleton_links,
            skeleton_colors=model.skeleton_colors,
            **as_json(poses, places),
        )

    async def list_models(request: Request) -> JSONResponse:
        return JSONResponse(
            dict(
                models=list(models),
                titles=[model.title for model in models.values()],
                max_bytes=limits.num_bytes,
                max_pixels=limits.num_pixels,
                detector=detector is not None,
                example=example is not None,
            )
        )

    async def read_picture(request: Request) -> bytes:
        if not request.headers.get("content-type", "").startswith("image/"):
            raise Refused(415, "the content type must be image/jpeg or image/png")
        try:
            return await read_body(request, limits)
        except ImageRefused as error:
            raise Refused(413, str(error)) from error

    async def people(request: Request) -> JSONResponse:
        if detector is None:
            raise Refused(404, "there is no detector: start the page with --detector")
        data = await read_picture(request)
        return JSONResponse(await anyio.to_thread.run_sync(detect, data, limiter=one_at_a_time))

    async def pose(request: Request) -> JSONResponse:
        name = request.query_params.get("model", next(iter(models)))
        if name not in models:
            raise Refused(404, f"there is no model {name!r}, only {', '.join(models)}")
        data = await read_picture(request)
        boxes = request.query_params.get("boxes", "")
        return JSONResponse(
            await anyio.to_thread.run_sync(estimate, name, data, boxes, limiter=one_at_a_time)
        )

    async def show_example(request: Request) -> FileResponse:
        return FileResponse(str(example))

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        return JSONResponse(dict(error=str(error)), status_code=error.status)

    return Starlette(
        routes=[
            Route("/models", list_models),
            Route("/pose", pose, methods=["POST"]),
            Route("/people", people, methods=["POST"]),
            *([Route("/example.jpg", show_example)] if example else []),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        middleware=[
            Middleware(WithHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
        ],
        exception_handlers={Refused: refuse},
    )
