"""SQNR along depth as a picture."""

from __future__ import annotations

from pathlib import Path

from edgekit import registry
from edgekit.drift_types import FileDrift, LayerDrift, LayersResult
from edgekit.types import Report

_SIZE = (10.0, 4.5)
_MOST_LABELS = 60
_IDENTICAL = "identical"


def draw_all(report: Report, path: Path) -> list[Path]:
    """Draw the layers of every file that was looked into.

    Args:
        report: Of :func:`edgekit.drift.drift`.
        path: Of the picture; where there are several, the name of each file is put before the suffix.

    Returns:
        What was written.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    looked = [(item, item.layers) for item in report.drifts if item.layers is not None]
    written = []
    for item, layers in looked:
        place = path if len(looked) == 1 else _own(path, item)
        draw(layers, Path(item.path).name, place)
        written.append(place)
    return written


def draw(result: LayersResult, title: str, path: Path) -> None:
    """Draw SQNR along depth.

    Args:
        result: Of :func:`edgekit.layers.layers`.
        title: Above the picture.
        path: To write; SVG, whatever its suffix.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    registry.require(("matplotlib",), "metrics", "--plot")
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Text as text, and no date or random names: the same figures give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgekit"}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _curve(axes, result)
        axes.set_title(f"{title} against {result.reference}, {result.samples} samples", parse_math=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _curve(axes: object, result: LayersResult) -> None:
    """The points, the layer where drift begins, and names where there is room."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)  # noqa: S101 - what add_subplot returns
    known = [(place, layer.sqnr_db) for place, layer in enumerate(result.layers) if layer.sqnr_db is not None]
    top = max((level for _, level in known), default=0.0)
    same = [place for place, layer in enumerate(result.layers) if layer.sqnr_db is None and not layer.finding]
    axes.plot([place for place, _ in known], [level for _, level in known], marker="o", markersize=3, linewidth=1)
    if same:
        axes.plot(same, [top] * len(same), "^", color="tab:green", markersize=4, label=_IDENTICAL)
    for place, layer in enumerate(result.layers):
        if layer.index == result.first:
            axes.axvline(place, color="tab:red", linewidth=1, label=f"drift begins: {_name(layer)}")
    if axes.get_legend_handles_labels()[1]:
        for text in axes.legend(loc="best", fontsize="small").get_texts():
            text.set_parse_math(False)
    axes.set_ylabel("SQNR (dB)")
    axes.set_xlabel("layers in order of execution")
    axes.grid(visible=True, linewidth=0.3)
    if len(result.layers) <= _MOST_LABELS:
        axes.set_xticks(range(len(result.layers)))
        names = axes.set_xticklabels([_name(layer) for layer in result.layers], rotation=90, fontsize=5)
        for text in names:
            text.set_parse_math(False)


def _name(layer: LayerDrift) -> str:
    return layer.module or layer.tensor


def _own(path: Path, item: FileDrift) -> Path:
    suffix = path.suffix or ".svg"
    return path.with_name(f"{path.stem}-{Path(item.path).name}{suffix}")
