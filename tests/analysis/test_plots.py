# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgpose.analysis.comparison.statistics import PairedDifference
from sgpose.analysis.plots import Row, better, curves_plot, forest_plot, name_seeds


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_seeds_are_named():
    assert name_seeds([3]) == "seed 3"
    assert name_seeds([31, 10, 11, 12, 30]) == "seeds 10-12, 30-31"


def test_which_way_a_metric_goes():
    assert better("coco/AP") == better("PCK") == "higher is better"
    assert better("NME") == better("loss_kpt") == "lower is better"


def test_a_single_seed_is_hollow_and_has_no_interval():
    rows = [
        Row("many", [1, 2], PairedDifference(1.0, 0.5, 1.5, 2)),
        Row("one", [3], PairedDifference(-2.0, math.nan, math.nan, 1)),
    ]
    figure = forest_plot(dict(heading=rows), "title", "points")
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["heading", "many (seeds 1-2)", "one (seed 3)"]
    many, one = axes.containers
    assert many.lines[0].get_markerfacecolor() == "C0"
    assert one.lines[0].get_markerfacecolor() == "white"
    assert one.lines[0].get_xdata() == -2 and not one.has_xerr
    (bar,) = many.lines[2]
    np.testing.assert_allclose(bar.get_segments()[0][:, 0], [0.5, 1.5])


def test_the_legend_lies_beside_the_curves():
    figure = curves_plot(dict(a=([(1, 0.1), (2, 0.2)], [[(1, 0.1), (2, 0.2)]] * 2)), "t", "PCK")
    figure.canvas.draw()
    (axes,), (legend,) = figure.axes, figure.legends
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert [text.get_text() for text in legend.get_texts()] == ["a (2)"]
