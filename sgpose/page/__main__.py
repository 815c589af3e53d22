# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Serve the page to the browsers of this machine: ``python -m sgpose.page [--model FILE]...``."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m sgpose.page", description=__doc__.split(":")[0])
    parser.add_argument(
        "--model",
        action="append",
        metavar="FILE.onnx | CONFIG.py,CHECKPOINT.pth",
        help="a model to offer, the first is the default; may be repeated. The second form needs "
        "MMPose. Left out: the models that come with sgpose",
    )
    parser.add_argument(
        "--detector",
        help="what finds people, as of `python -m sgpose.deploy run`: FILE.onnx (YOLOX), rtmlib, "
        'mmdet:NAME (pip install "sgpose[video]")',
    )
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (%(default)s)")
    parser.add_argument("--max-mib", type=float, default=20, help="of a file (%(default)s)")
    parser.add_argument("--max-megapixels", type=float, default=50, help="(%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the models and serve until interrupted."""
    args = parse_arguments(arguments)
    try:
        import uvicorn

        from .app import make_app
        from .idle import TimedProtocol
        from .image_gate import Limits
    except ImportError as error:
        sys.exit(f'{error}: the page needs `pip install "sgpose[page]"`')
    from ..deploy.people import load_detector
    from .models import load_model, shipped_models

    sources = args.model or shipped_models()
    if not sources:
        sys.exit("no models come with this sgpose: give --model FILE.onnx")
    try:
        models = dict(load_model(source) for source in sources)
        detector = load_detector(args.detector) if args.detector else None
    except (FileNotFoundError, ImportError, ValueError) as error:
        sys.exit(str(error))
    if len(models) < len(sources):
        sys.exit(f"two models have the same file name: {', '.join(sources)}")
    limits = Limits(int(args.max_mib * 2**20), int(args.max_megapixels * 1e6))
    try:
        listening = socket.create_server(("127.0.0.1", args.port))
    except OSError as error:
        sys.exit(f"port {args.port}: {error}. --port 0 takes a free one")
    print(f"Open http://127.0.0.1:{listening.getsockname()[1]} (end with Ctrl+C)", flush=True)
    config = uvicorn.Config(
        make_app(models, limits, detector),
        log_level="warning",
        limit_concurrency=64,
        http=TimedProtocol,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
