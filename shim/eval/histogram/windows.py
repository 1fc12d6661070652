"""Histograms of windows from histograms of cells (one cell: one bucket of time). Pure."""

from __future__ import annotations

import numpy as np

from shim.eval.cells import window_any, window_sums
from shim.values import Histogram, Spans


def window_histograms(cells: Histogram, width: int, stride: int = 1) -> Histogram:
    """The merge of every `width` neighbouring cells, each `stride` cells apart.

    The steps of `cells` are cells of time; absent cells count as empty. A window is present where one of its
    cells is. Shapes as `cells.window_sums`.
    """
    return Histogram(
        present=window_any(cells.present, width, stride=stride),
        count=window_sums(np.where(cells.present, cells.count, 0.0), width, stride=stride),
        sum=window_sums(np.where(cells.present, cells.sum, 0.0), width, stride=stride),
        zero=window_sums(np.where(cells.present, cells.zero, 0.0), width, stride=stride),
        positive=_windows(cells.positive, cells, width, stride),
        negative=_windows(cells.negative, cells, width, stride),
    )


def _windows(spans: Spans, cells: Histogram, width: int, stride: int) -> Spans:
    counts = np.where(cells.present[:, None], spans.counts, 0.0)
    return Spans(spans.first, window_sums(counts, width, axis=0, stride=stride))
