# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import io
import json
import socket
from http.client import HTTPConnection
from urllib.parse import urlencode

import numpy as np
import pytest
from fixed_model import FixedModel

pytest.importorskip("starlette")
from PIL import Image  # noqa: E402

from sgpose.page import app  # noqa: E402
from sgpose.page.app import MAX_BOXES, parse_boxes  # noqa: E402
from sgpose.page.idle import TimedProtocol  # noqa: E402
from sgpose.page.image_gate import Limits  # noqa: E402

WIDTH, HEIGHT = 40, 30


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0)).save(file, "PNG")
    return file.getvalue()


def ask(port, method, path, body=None, **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read()


def pose(port, body, boxes="", content_type="image/png", **question):
    path = "/pose?" + urlencode(dict(boxes=boxes, **question))
    answer, content = ask(port, "POST", path, body, Content_Type=content_type)
    return answer.status, json.loads(content)


def test_poses_come_back_in_pixels_of_the_picture(serve):
    model = FixedModel(guides=2)
    with serve(dict(other=FixedModel(), fixed=model)) as port:
        status, found = pose(port, picture(), boxes="4,6,20,26; -9,0,99,15", model="fixed")
    assert status == 200
    assert (found["model"], found["width"], found["height"]) == ("fixed", WIDTH, HEIGHT)
    assert found["keypoint_names"] == model.keypoint_names
    assert found["skeleton_links"] == [[0, 1], [0, 2]]
    assert found["skeleton_colors"] == [[0, 255, 0], [255, 128, 0]]
    assert found["keypoint_colors"] == list(map(list, model.keypoint_colors))
    first, second = found["predictions"]
    assert first["bbox"] == [4, 6, 20, 26]
    assert first["keypoints"] == [[12, 16], [4, 6], [20, 26]]
    assert first["keypoint_scores"] == [0.75, 0.5, 0.1]
    assert first["attention"] == dict(
        bbox=[4, 6, 20, 26],
        maps=[[[0] * 3] * 4, [[1] * 3] * 2 + [[0] * 3] * 2],
    )
    assert second["bbox"] == [0, 0, WIDTH, 15]
    (image, _), *others = model.seen
    assert image.shape == (HEIGHT, WIDTH, 3) and (image == (0, 0, 255)).all()  # BGR
    assert not others


def test_the_first_model_and_the_whole_picture_are_the_defaults(serve):
    with serve(dict(first=FixedModel(), second=FixedModel(guides=1))) as port:
        _, models = ask(port, "GET", "/models")
        status, found = pose(port, picture())
    about = json.loads(models)
    assert about["models"] == ["first", "second"] and about["titles"] == [FixedModel.title] * 2
    assert about["max_bytes"] == 20 * 2**20 and about["max_pixels"] == 50_000_000
    assert about["detector"] is False
    assert (status, found["model"]) == (200, "first")
    (person,) = found["predictions"]
    assert person["bbox"] == [0, 0, WIDTH, HEIGHT]
    assert "attention" not in person


@pytest.mark.parametrize(
    "body, options, status, message",
    [
        (b"no picture", {}, 415, "not a JPEG or PNG"),
        (b"", {}, 415, "not a JPEG or PNG"),
        (picture(), dict(content_type="text/plain"), 415, "content type"),
        (picture(), dict(model="none"), 404, "no model 'none'"),
        (picture(), dict(boxes="1,2,3"), 422, "'1,2,3' is not x1, y1, x2, y2"),
        (picture() + bytes(5000), {}, 413, "larger than"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(serve, body, options, status, message):
    model = FixedModel()
    with serve(dict(fixed=model), Limits(num_bytes=4000)) as port:
        given, content = pose(port, body, **options)
    assert given == status
    assert message in content["error"]
    assert not model.seen


def test_an_upload_without_end_is_refused_at_the_limit(serve):
    head = b"POST /pose HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    limits = Limits(num_bytes=2**17)
    with (
        serve(dict(fixed=FixedModel()), limits) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * chunk)
        assert b" 413 " in connection.recv(2**12).splitlines()[0]


def test_pages_of_other_sites_get_nothing(serve):
    with serve(dict(fixed=FixedModel())) as port:
        rebound, _ = ask(port, "GET", "/models", Host="attacker.example")
        ask_first = dict(Origin="http://attacker.example", Access_Control_Request_Method="POST")
        preflight, _ = ask(port, "OPTIONS", "/pose", **ask_first)
    assert rebound.status == 400
    assert preflight.status == 405
    assert preflight.getheader("Access-Control-Allow-Origin") is None


def test_the_page_asks_for_nothing_from_elsewhere(serve):
    with serve(dict(fixed=FixedModel())) as port:
        for path in ("/", "/page.js", "/page.css"):
            answer, content = ask(port, "GET", path)
            assert answer.status == 200
            assert b"://" not in content
            assert "default-src 'self'" in answer.getheader("Content-Security-Policy")
        outside, _ = ask(port, "GET", "/../app.py")
    assert outside.status == 404


def test_boxes_are_cut_to_the_picture():
    boxes = parse_boxes(" 1,2,3,4 ;-5,-5,5,5;", width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [0, 0, 5, 5]])
    assert boxes.dtype == np.float32


@pytest.mark.parametrize(
    "text",
    ["1,2,3", "a,b,c,d", "3,2,1,4", "1,4,3,4", "nan,0,5,5", "0,0,inf,9", "50,0,60,9"]
    + ["0,0,1e-300,1e-300", "0,0,0.5,30", "39.5,0,99,30", "1e308,0,1e309,9"]
    + [";".join(["1,1,2,2"] * (MAX_BOXES + 1))],
)
def test_boxes_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="box"):
        parse_boxes(text, width=WIDTH, height=HEIGHT)


def test_people_are_found_where_there_is_a_detector(serve):
    seen = []

    def detect(image):
        seen.append(image.shape)
        return np.float32([[-5, 2, 20.26, 28], [50, 0, 60, 9], [3, 3, 3.5, 20], [1, 1, 39, 29]])

    with serve(dict(fixed=FixedModel()), detector=detect) as port:
        answer, content = ask(port, "POST", "/people", picture(), Content_Type="image/png")
        assert answer.status == 200
        assert json.loads(content) == dict(boxes=[[0, 2, 20.3, 28], [1, 1, 39, 29]])
        refused, _ = ask(port, "POST", "/people", b"no picture", Content_Type="image/png")
        assert refused.status == 415
        assert json.loads(ask(port, "GET", "/models")[1])["detector"] is True
    assert seen == [(HEIGHT, WIDTH, 3)]
    with serve(dict(fixed=FixedModel())) as port:
        answer, content = ask(port, "POST", "/people", picture(), Content_Type="image/png")
    assert answer.status == 404 and "--detector" in json.loads(content)["error"]


def test_what_a_model_refuses_is_told(serve):
    def refuse(image, bboxes):
        raise ValueError("not this one")

    model = FixedModel()
    model.__class__ = type("Refusing", (FixedModel,), dict(__call__=lambda self, *a: refuse(*a)))
    with serve(dict(fixed=model)) as port:
        status, found = pose(port, picture())
    assert (status, found) == (422, dict(error="not this one"))


def test_an_upload_that_stops_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(app, "READ_TIMEOUT", 0.2)
    head = b"POST /pose HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with (
        serve(dict(fixed=FixedModel())) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(head + b"Content-Length: 1000\r\n\r\nhalf of it")
        assert b" 408 " in connection.recv(2**12).splitlines()[0]


def test_connections_without_a_request_are_closed_and_block_nobody(serve, monkeypatch):
    monkeypatch.setattr(TimedProtocol, "timeout", 0.3)
    options = dict(http=TimedProtocol, limit_concurrency=64)
    with serve(dict(fixed=FixedModel()), **options) as port:
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(30)]
        for connection in idle[:15]:
            connection.sendall(b"POST /pose HTTP/1.1\r\nHost:")
        assert pose(port, picture())[0] == 200
        assert [connection.recv(1) for connection in idle] == [b""] * 30, "closed by the server"
        for connection in idle:
            connection.close()


def test_the_example_is_the_photograph_with_its_attribution(serve):
    if not any(path.is_file() for path in app.EXAMPLES):
        pytest.skip("this copy has no example")
    with serve(dict(fixed=FixedModel())) as port:
        assert json.loads(ask(port, "GET", "/models")[1])["example"] is True
        answer, content = ask(port, "GET", "/example.jpg")
        _, html = ask(port, "GET", "/")
    assert answer.status == 200 and Image.open(io.BytesIO(content)).size == (640, 425)
    assert b"flickr 6795644157, Creative Commons Attribution 2.0" in html
