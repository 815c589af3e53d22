# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
import runpy
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="folding for deployment is measured, too")
ROOT = Path(__file__).parents[2]


def test_a_section_is_measured_once_and_reported(tmp_path):
    main = runpy.run_module("benchmarks.__main__")["main"]
    arguments = ["--only", "encode", "--rounds", "0.001", "--threads", "1", "--out", str(tmp_path)]
    main(arguments)
    first = (tmp_path / "run1.json").read_text()
    content = json.loads(first)
    assert [case["rounds"] for case in content["cases"]] == [1] * 6
    page = (tmp_path / "README.md").read_text()
    for case in content["cases"]:
        assert f"**{case['name']}**" in page
        mmpose, ours, _ = (own["value"][1] for own in case["candidates"].values())
        assert ours / mmpose == pytest.approx(list(case["candidates"].values())[1]["ratio"][1])
        assert len(case["loadavg"]) == 3

    main(arguments)
    assert json.loads((tmp_path / "run1.json").read_text())["cases"] == content["cases"]
    main([*arguments, "--fresh"])
    again = json.loads((tmp_path / "run1.json").read_text())["cases"]
    assert again != content["cases"] and len(again) == 6
    main([*arguments, "--run", "2"])
    assert "run 2: ratio" in (tmp_path / "README.md").read_text()
    for text in (first, page):
        assert str(tmp_path) not in text and str(ROOT) not in text
