# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
import runpy
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import pytest

from sgpose.analysis.curves import plot_runs, read_run

TOOL = Path(__file__).parents[2] / "tools" / "plot_logs.py"


def train(step, **values):
    return dict(
        lr=0.1, loss=1 / step, time=0.5, epoch=-(-step // 10), iter=step, step=step, **values
    )


def write(run: Path, folder: str, records) -> Path:
    file = run / folder / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


@pytest.fixture
def run(tmp_path) -> Path:
    """Ten steps an epoch; killed after step 25, resumed from the end of epoch 2."""
    path = tmp_path / "run"
    first = [train(step, weight_seg=1.0) for step in (5, 10, 15, 20, 25)]
    first.insert(2, {"coco/AP": 0.1, "coco/AR": 0.3, "step": 1})
    first.append({"coco/AP": 0.2, "coco/AR": 0.4, "step": 2})
    write(path, "20240101_000000", first)
    second = [train(step, weight_seg=0.5) for step in (25, 30)]
    second.append({"coco/AP": 0.6, "coco/AR": 0.5, "time": 1.0, "step": 3})
    write(path, "20240102_000000", second)
    return path


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def lines(figure):
    return {
        axis.get_title(): {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
        for axis in figure.axes
        if axis.lines
    }


def test_a_resumed_run_is_one_curve(run):
    read = read_run(run)
    assert read.unit == "epoch"
    assert read.training["loss"] == ([0.5, 1, 1.5, 2, 2.5, 3], [1 / s for s in range(5, 31, 5)])
    assert read.training["weight_seg"][1] == [1, 1, 1, 1, 0.5, 0.5]
    assert read.validation["coco/AP"] == ([1, 2, 3], [0.1, 0.2, 0.6])
    for file in run.glob("20240101*/vis_data/scalars.json"):
        file.write_text(file.read_text() + '{"lr": 0.1, "st')  # cut off by the kill
    assert read_run(run) == read
    (alone,) = run.glob("20240102*/vis_data/scalars.json")
    assert read_run(alone).validation["coco/AR"] == ([3], [0.5])


def test_panels_hold_the_logged_values(run):
    drawn = lines(plot_runs(dict(one=read_run(run)), ["coco/AR"]))
    assert set(drawn) == {
        "loss, as minimised, lower is better",
        "weight (DWA)",
        "learning rate",
        "coco/AR (validation), higher is better",
    }
    reached = drawn["coco/AR (validation), higher is better"]
    assert reached == {"coco/AR": [[1, 0.3], [2, 0.4], [3, 0.5]]}
    assert drawn["weight (DWA)"]["weight_seg"][-1] == [3, 0.5]


def test_no_legend_lies_over_its_curves(run):
    figure = plot_runs(dict(one=read_run(run)))
    figure.canvas.draw()
    for axis in (axis for axis in figure.axes if axis.lines):
        legend = axis.get_legend().get_window_extent()
        assert legend.y1 < axis.get_window_extent().y0


def test_several_runs_share_a_panel(run, tmp_path):
    write(tmp_path / "other", "a", [train(10), train(20), {"coco/AP": 0.9, "step": 2}])
    runs = dict(one=read_run(run), two=read_run(tmp_path / "other"))
    drawn = lines(plot_runs(runs, training=False))
    assert drawn == {
        "coco/AP (validation), higher is better": {
            "one": [[1, 0.1], [2, 0.2], [3, 0.6]],
            "two": [[2, 0.9]],
        }
    }


def test_runs_counted_by_iterations(tmp_path):
    records = [dict(lr=0.1, loss=1.0, iter=s, step=s) for s in (100, 200)] + [
        dict(PCK=0.5, step=200)
    ]
    read = read_run(write(tmp_path, "a", records))
    assert read.unit == "iteration"
    assert read.training["loss"][0] == [100, 200] and read.validation["PCK"] == ([200], [0.5])


def test_what_is_not_there_is_asked_for(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="vis_data/scalars.json"):
        read_run(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no run logs .'PCK'., they log .'coco/AP', 'coco/AR'."):
        plot_runs(dict(one=read_run(run)), ["PCK"])
    with pytest.raises(ValueError, match="no scalars"):
        read_run(write(tmp_path / "empty", "a", []))
    unvalidated = read_run(write(tmp_path / "unvalidated", "a", [train(1)]))
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_runs(dict(one=unvalidated), training=False)


@pytest.mark.parametrize(
    "line",
    [
        '{"mode": "train", "epoch": 1, "iter": 50, "lr": 0.001, "loss": 0.5}',
        '{"epoch": 0, "step": 50, "lr": 0.001, "loss": 0.5}',
        "[1]",
        "3",
    ],
)
def test_logs_of_another_kind_are_refused(line, tmp_path):
    """As MMPose 0.x wrote them: the counter is ``iter``, within an epoch."""
    file = write(tmp_path, "a", [train(1)])
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"scalars.json, line 2: no record with a `step`"):
        read_run(file)


def test_from_the_command_line(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pictures" / "curves.png"
    monkeypatch.setattr(sys, "argv", ["plot_logs.py", str(run), "--out", str(out)])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert cv2.imread(str(out)).shape[1] == 3 * 460
    assert str(out) in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["plot_logs.py", str(run), "--metrics", "mAP"])
    with pytest.raises(SystemExit, match="plot_logs: no run logs"):
        runpy.run_path(str(TOOL), run_name="__main__")
