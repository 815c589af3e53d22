# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the tool writes such files")

ROOT = Path(__file__).parents[2]
tool = runpy.run_path(str(ROOT / "tools/export_onnx.py"))


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ("work_dirs/a/epoch_1.pth", "work_dirs/a/epoch_1.onnx"),
        ("https://example.org/models/w32-0c4.pth?download=1", "w32-0c4.onnx"),
    ],
)
def test_where_the_file_goes_by_itself(checkpoint, expected):
    assert tool["beside"](checkpoint) == Path(expected)


def test_what_cannot_be_exported_is_one_sentence(tmp_path, monkeypatch):
    config = ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
    arguments = ["export_onnx.py", str(config), str(tmp_path / "none.pth"), "--int8", "-3"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="export_onnx: int8 must be a number of persons"):
        tool["main"]()
