"""Every figure of the course, in one style: colours that colour-blind people tell apart (Okabe & Ito,
https://jfly.uni-koeln.de/color/), and line styles, markers and hatches that survive black and white printing.

Each function returns a Figure and leaves matplotlib's settings as they were. pyplot knows nothing of the figure: as
the last line of a notebook cell it is shown, once; elsewhere in a cell use `display(figure)`, in a script `save`.
"""

import contextlib
import io
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.style
import numpy as np
import torch
import torch.nn.functional as F
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILLION, _, _, ORANGE, SKY, BLACK = PALETTE
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
STYLE = {
    "axes.prop_cycle": cycler(color=PALETTE * 4) + cycler(marker="osD^vPX" * 4) + cycler(ls=["-", "--", "-.", ":"] * 7),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": "medium",
    "figure.dpi": 120,
    "figure.titlesize": "large",
    "font.size": 9.5,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.markersize": 4.5,
}
SPARSITY_TICKS = (0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
CELLS = 128  # a mask with more rows or columns than this is drawn in blocks
REMOVED = "sparsity (% of weights removed)"
Weights = torch.Tensor | Mapping[str, torch.Tensor]


def weight_histogram(
    before: Weights, after: Weights | None = None, threshold: float | None = None, *, title: str | None = None
) -> Figure:
    """Histogram, counts on a log axis, of the weights of a tensor, or of all tensors of {name: tensor} together.

    `after` is drawn over `before`. `threshold` marks the cut at -threshold and +threshold, with the fraction removed:
    the zeros of `after`, or without it what has |weight| <= threshold. Raises ValueError for no weights or NaN.
    """
    series = {"before": _values(before, "before")} | ({} if after is None else {"after": _values(after, "after")})
    if threshold is not None and not 0 <= threshold < math.inf:
        raise ValueError(f"threshold must be a finite number, 0 or more, got {threshold}")
    limit = max(threshold or 0.0, *(float(np.abs(values).max()) for values in series.values())) or 1.0
    with _figure(title) as (figure, ax):
        looks = ({"fill": True, "color": SKY}, {"color": BLACK, "linewidth": 1.2})
        for (name, values), look in zip(series.items(), looks):
            counts, edges = np.histogram(values, 101, (-limit, limit))  # odd: the middle bin is centred on zero
            label = f"{name}: {np.count_nonzero(values):,} of {values.size:,} weights are not 0"
            ax.stairs(counts, edges, label=label, **look)
        top = max(patch.get_data().values.max() for patch in ax.patches)
        ax.set(yscale="log", ylim=(0.7, 2 * top), xlabel="weight", ylabel="weights per bin (log scale)")
        if threshold is not None:
            removed = np.mean(np.abs(series["before"]) <= threshold) if after is None else np.mean(series["after"] == 0)
            for cut in (-threshold, threshold):
                line = ax.axvline(cut, color=VERMILLION, linestyle="--", linewidth=1.2)
            line.set_label(f"cut at ±{threshold:.3g}")
            ax.text(0, 2.1 * top, f"{removed:.1%} removed", ha="center", va="bottom", color=VERMILLION)
        figure.legend(loc="outside lower center")
    return figure


def mask_picture(mask: torch.Tensor, target: torch.Tensor | None = None, *, title: str | None = None) -> Figure:
    """Kept weights as an image: a mask (rows, columns), or (out, in, kh, kw) laid out as out x (in * kh * kw).

    With `target`, of the same shape, three panels: target, yours, difference. More than 128 rows or columns are drawn
    in blocks: their mean, and in the difference every block with an error in it. Raises ValueError for another number
    of dimensions, values other than 0 and 1, or shapes that differ.
    """
    shape, images = tuple(mask.shape), {"mask": _mask(mask, "mask")}
    if target is not None:
        images = {"target": _mask(target, "target"), "yours": images["mask"]}
        if target.shape != mask.shape:
            raise ValueError(f"mask and target must have one shape, got {shape} and {tuple(target.shape)}")
    rows, columns = next(iter(images.values())).shape
    block = (math.ceil(rows / CELLS), math.ceil(columns / CELLS))
    panels, stacked = 1 if target is None else 3, columns > 1.5 * rows
    width, tall = (6.6, 6 * rows / columns) if stacked else (2.7 * panels + 1, 2.7 * rows / columns)
    height = float(np.clip(tall, 0.6, 4.5)) * (panels if stacked else 1) + 0.5 * (panels if stacked else 1) + 0.8
    with _figure(title, (width, height), (panels, 1) if stacked else (1, panels)) as (figure, axes):
        axes = np.atleast_1d(axes)
        densities = [F.avg_pool2d(image[None].float(), block, ceil_mode=True)[0] for image in images.values()]
        fullest = max(density.max().item() for density in densities) or 1
        for ax, (name, image), density in zip(axes, images.items(), densities):
            shades = LinearSegmentedColormap.from_list("kept", ["white", BLUE])
            picture = _cells(ax, density, image.shape, block, cmap=shades, vmin=0, vmax=fullest)
            ax.set_title(f"{name}: {int(image.sum()):,} of {image.numel():,} kept ({image.float().mean():.1%})")
        handles = [Patch(facecolor=BLUE, label="kept"), Patch(facecolor="white", edgecolor="0.5", label="removed")]
        if block != (1, 1):
            handles = []
            figure.colorbar(picture, ax=axes, label=f"fraction kept, blocks of {block[0]} x {block[1]}", shrink=0.8)
        if target is not None:
            wrong = torch.stack([images["yours"] & ~images["target"], images["target"] & ~images["yours"]])
            codes = (F.max_pool2d(wrong.float(), block, ceil_mode=True) * torch.tensor([1.0, 2.0]).view(2, 1, 1)).sum(0)
            looks = {ORANGE: "kept, should be removed", BLACK: "removed, should be kept", "0.5": "both, in one block"}
            _cells(axes[2], codes, (rows, columns), block, cmap=ListedColormap(["white", *looks]), vmin=0, vmax=3)
            axes[2].set_title(f"difference: {int(wrong.sum()):,} wrong" if wrong.any() else "difference: none")
            present = [look for code, look in enumerate(looks.items(), start=1) if (codes == code).any()]
            handles += [Patch(facecolor=color, label=label) for color, label in present]
        for ax in axes:
            ax.set_ylabel("output" if len(shape) == 2 else "filter")
        axes[-1].set_xlabel(
            "input" if len(shape) == 2 else f"input channel x kernel ({' x '.join(map(str, shape[1:]))})"
        )
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=2 if width < 8 else 4)
    return figure


def layer_sparsity(sparsities: Mapping[str, Mapping[str, float]], *, title: str | None = None) -> Figure:
    """Grouped bars of {label: {layer: sparsity}}, sparsity a fraction; a layer that a label lacks has no bar."""
    layers = list(dict.fromkeys(layer for row in _some(sparsities, "sparsities").values() for layer in row))
    bar = 0.8 / len(sparsities)
    with _figure(title, (float(np.clip(0.35 * len(layers) * len(sparsities) + 1, 6.4, 12)), 3.8)) as (figure, ax):
        for index, (label, row) in enumerate(sparsities.items()):
            heights = [_fraction(value, f"the sparsity of {layer!r}") for layer, value in _some(row, label).items()]
            places = [layers.index(layer) + (index - (len(sparsities) - 1) / 2) * bar for layer in row]
            look = {"color": PALETTE[index % 7], "hatch": HATCHES[index % 7], "edgecolor": "white"}
            drawn = ax.bar(places, heights, bar, label=label, **look)
            ax.bar_label(drawn, [f"{100 * height:.1f}" for height in heights], padding=2, fontsize=7)
        ax.set_xticks(range(len(layers)), layers, rotation=40 if len(layers) > 8 else 0)
        ax.set(xlabel="layer", ylabel=REMOVED, ylim=(0, 1.05), yticks=np.linspace(0, 1, 6))
        ax.grid(axis="x", visible=False)
        _finish(figure, ax)
    return figure


def accuracy_against_sparsity(
    curves: Mapping[str, Mapping[float, float | list[float]]],
    dense: float | None = None,
    budget: float | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Curves of {label: {sparsity: accuracy}}, both fractions, on an axis that tells 90, 95, 97, 98 and 99 % apart.

    An accuracy may be a list over seeds: the mean is drawn, with whiskers from the lowest to the highest. `dense`, the
    accuracy before pruning, is a line, and `budget`, the loss allowed, a band below it. With a budget the picture ends
    ten budgets below `dense`; means that lie lower are written on its edge. Raises ValueError for a sparsity outside
    [0, 1), an accuracy outside [0, 1], or a budget without `dense`.
    """
    rows = {}
    for label, curve in _some(curves, "curves").items():
        for sparsity, values in sorted(_some(curve, label).items()):
            if not 0 <= sparsity < 1:
                raise ValueError(f"{label!r} has sparsity {sparsity}: expected a fraction, 0 or more and under 1")
            seeds = [_fraction(value, f"{label!r}, accuracy at {sparsity}") for value in np.ravel(values)]
            rows.setdefault(label, []).append((sparsity, np.mean(seeds), min(seeds), max(seeds)))
    if budget is not None and (dense is None or not 0 < budget < 1):
        raise ValueError(f"budget must be a fraction above 0, and needs `dense`; got budget {budget}, dense {dense}")
    everything = np.concatenate(list(rows.values()))  # (points, 4): sparsity, mean, lowest, highest
    lowest, highest = everything[:, 2].min(), max(everything[:, 3].max(), dense or 0)
    floor = lowest if budget is None else max(lowest, dense - 10 * budget)
    margin = 0.04 * (highest - floor) or 0.01
    ticks = np.array(SPARSITY_TICKS)
    first, last = ticks[ticks <= everything[:, 0].min()][-1], [*ticks[ticks >= everything[:, 0].max()], 1 - 1e-6][0]
    ticks = ticks[(ticks >= first) & (ticks <= last)]
    with _figure(title) as (figure, ax):
        # distance along the axis is the logarithm of what remains: 0, 90, 99 and 99.9 % are equally far apart
        ax.set_xscale("function", functions=(lambda s: -np.log10(np.maximum(1 - s, 1e-9)), lambda t: 1 - 10.0**-t))
        if dense is not None:
            ax.axhline(_fraction(dense, "dense"), color="0.4", linewidth=1, label=f"dense: {dense:.1%}")
        if budget is not None:
            label = f"allowed loss: {100 * budget:.3g} pp"
            ax.axhspan(dense - budget, dense, color="0.5", alpha=0.25, linewidth=0, label=label)
        for index, (label, row) in enumerate(rows.items()):
            x, mean, low, high = np.array(row).T
            (line,) = ax.plot(x, mean, label=label)
            if (low < high).any():
                ax.errorbar(x, mean, np.abs((mean - low, high - mean)), fmt="none", ecolor=line.get_color(), capsize=3)
            for place, value in zip(x, mean):
                if value < floor - margin:
                    note = {"xytext": (0, 3 + 10 * index), "textcoords": "offset points", "color": line.get_color()}
                    ax.annotate(f"↓{value:.0%}", (place, floor - margin), ha="center", fontsize=7, **note)
        ax.set_xticks(ticks, [f"{100 * tick:.4g}" for tick in ticks])
        ax.set(xlim=(1 - 1.05 * (1 - first), 1 - (1 - last) / 1.05), ylim=(floor - margin, highest + margin))
        ax.set(xlabel=f"{REMOVED}, log scale of what remains", ylabel="accuracy (%)")
        if (everything[:, 2] < everything[:, 3]).any():
            ax.plot([], [], " ", label="whiskers: lowest to highest seed")
        _finish(figure, ax)
    return figure


def schedules(callables: Mapping[str, Callable[[int], float]], steps: int, *, title: str | None = None) -> Figure:
    """Sparsity against step 0..steps of the pruning schedules {label: callable(step) -> fraction}."""
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    with _figure(title) as (figure, ax):
        for label, schedule in _some(callables, "callables").items():
            values = [_fraction(schedule(step), f"{label!r} at step {step}") for step in range(steps + 1)]
            ax.plot(range(steps + 1), values, label=label, markevery=math.ceil(steps / 20))
        ax.set(xlabel="step", ylabel=REMOVED)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, ax)
    return figure


def training_history(histories: Mapping[str, list[dict]], *, title: str | None = None) -> Figure:
    """Validation accuracy after each epoch of {label: history}, the histories of training.train."""
    with _figure(title) as (figure, ax):
        for label, history in _some(histories, "histories").items():
            values = [_fraction(row["accuracy"], f"{label!r}, epoch {row['epoch']}") for row in _some(history, label)]
            epochs = [row["epoch"] + 1 for row in history]
            ax.plot(epochs, values, label=label, markevery=math.ceil(len(epochs) / 20))
        ax.set(xlabel="epochs trained", ylabel="validation accuracy (%)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, ax)
    return figure


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a PNG, whole or not at all, and close the figure. Raises ValueError for a path that is not a .png."""
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"a figure is saved as PNG: expected a path that ends in .png, got {str(path)!r}")
    png, part = _png(figure), Path(f"{path}.part")
    try:
        part.write_bytes(png)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    plt.close(figure)


class _Picture(Figure):
    """A figure that a notebook shows by itself, whatever pyplot's backend is."""

    def _repr_png_(self):
        return _png(self)


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", facecolor="auto")
    return buffer.getvalue()


@contextlib.contextmanager
def _figure(title, size=(6.4, 3.8), panels=(1, 1)):
    """A new figure and its axes, under STYLE alone while the body draws."""
    with matplotlib.style.context(["default", STYLE]):
        figure = _Picture(size, layout="constrained")
        if title is not None:
            figure.suptitle(title)
        yield figure, figure.subplots(*panels)
        figure.draw_without_rendering()  # ticks are made by the first drawing: let that be under STYLE


def _finish(figure, ax):
    """A percent axis for fractions, and a legend that covers no data."""
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    figure.legend(loc="outside upper center", ncols=3)


def _cells(ax, picture, shape, block, **look):
    """Draw a picture whose cells stand for blocks of a matrix of `shape`, with the matrix's own indices as ticks."""
    (height, width), (rows, columns) = picture.shape, shape
    extent = (-0.5, width * block[1] - 0.5, height * block[0] - 0.5, -0.5)
    aspect = "equal" if 1 / 4 < rows / columns < 4 else "auto"
    drawn = ax.imshow(picture.numpy(), extent=extent, aspect=aspect, interpolation="nearest", **look)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    ax.grid(False)
    ax.spines[:].set_visible(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    return drawn


def _mask(mask, name):
    """A mask as a bool matrix on the CPU."""
    if mask.ndim not in (2, 4) or 0 in mask.shape:
        raise ValueError(f"{name} must be (rows, columns) or (out, in, kh, kw), got shape {tuple(mask.shape)}")
    mask = torch.as_tensor(mask).detach().cpu().flatten(1)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"{name} must hold 0 and 1 only (or False and True): for a weight give `weight != 0`")
    return mask.bool()


def _values(weights, name):
    """All weights of a tensor, or of the tensors of a dict, as a flat array."""
    tensors = weights.values() if isinstance(weights, Mapping) else [weights]
    flat = [torch.as_tensor(tensor).detach().float().cpu().numpy().ravel() for tensor in tensors]
    values = np.concatenate(flat) if flat else np.empty(0)
    if not values.size or not np.isfinite(values).all():
        raise ValueError(f"{name} must hold at least one weight, and finite ones only, got {values.size} weights")
    return values


def _some(collection, name):
    if not collection:
        raise ValueError(f"{name!r} is empty: there is nothing to draw")
    return collection


def _fraction(value, name):
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a fraction 0..1, got {value}")
    return float(value)
