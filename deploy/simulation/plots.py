"""PNG plots of simulated runs: how things spread, what it costs, whom it wronged. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deploy.simulation.run import Result
from protocol.errors import InvalidInput

if TYPE_CHECKING:
    from deploy.simulation.rounds import Spread

_KINDS: Final = {
    "change": ("a change is known", "#1f6fb2"),
    "death": ("a crash is known", "#c23b33"),
    "arrival": ("a newcomer is known", "#2e8b57"),
    "join": ("a newcomer knows", "#8a5fb0"),
}
_DPI: Final = 130


def check_library() -> None:
    """Raise `InvalidInput` where matplotlib is missing: before a long run, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InvalidInput(
            "plot", "matplotlib is not installed", "install it: python -m pip install 'avm-mesh[plot]'"
        ) from None


def draw_runs(runs: Sequence[Result], name: str, folder: Path) -> list[Path]:
    """convergence.png (where something spread), traffic.png and suspicions.png in `folder`."""
    first = runs[0]
    title = f"{name}: {first.nodes} members, profile {first.profile}"
    title += f", {len(runs)} seeds" if len(runs) > 1 else f", seed {first.seed}"
    drawn = [_traffic(runs, title, folder), _suspicions(runs, title, folder)]
    if any(run.spreads for run in runs):
        drawn.append(_convergence(runs, title, folder))
    return drawn


def draw_rounds(spreads: Sequence[Spread], folder: Path) -> list[Path]:
    """rounds.png: the curve of each seed."""
    runs = f"{len(spreads)} seeds" if len(spreads) > 1 else f"seed {spreads[0].seed}"
    figure, axes = _figure(f"round model: a change among {spreads[0].nodes:,} members, {runs}")
    for spread in spreads:
        times, shares = zip(*spread.curve, strict=True)
        axes.plot(times, [100 * share for share in shares], color=_KINDS["change"][1], alpha=0.7)
    _share_axis(axes, max(spread.to_100_s for spread in spreads))
    return [_save(figure, folder, "rounds.png")]


def _convergence(runs: Sequence[Result], title: str, folder: Path) -> Path:
    figure, axes = _figure(title)
    longest = 0.0
    for kind, (label, colour) in _KINDS.items():
        spreads = [spread for run in runs for spread in run.spreads if spread.kind == kind]
        alpha = max(0.12, min(0.9, 4.0 / max(1, len(spreads))))
        for number, spread in enumerate(spreads):
            times, shares = _steps(spread.curve)
            longest = max(longest, times[-1])
            axes.plot(
                times,
                [100 * share for share in shares],
                drawstyle="steps-post",
                color=colour,
                alpha=alpha,
                label=f"{label} ({len(spreads)})" if number == 0 else None,
            )
    _share_axis(axes, longest)
    legend = axes.legend(loc="lower right", frameon=False)
    for line in legend.get_lines():
        line.set_alpha(1.0)
    return _save(figure, folder, "convergence.png")


def _share_axis(axes: Any, longest: float) -> None:
    axes.axhline(99, color="0.6", linewidth=0.8, linestyle=":")
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("99 %", (1.0, 99), xytext=(3, -3), fontsize=8, color="0.4", **beside)
    axes.set_xlabel("seconds since it happened")
    axes.set_ylabel("members that know, %")
    axes.set_xlim(0.0, max(0.1, longest * 1.03))
    axes.set_ylim(0, 103)


def _traffic(runs: Sequence[Result], title: str, folder: Path) -> Path:
    figure, axes = _figure(title)
    _over_time(
        axes,
        ([(sample.at_s, sample.bytes_per_node_s / 1000) for sample in run.samples] for run in runs),
        "#1f6fb2",
        len(runs),
    )
    mean = sum(run.bytes_per_node_s for run in runs) / len(runs) / 1000
    axes.axhline(mean, color="0.4", linewidth=0.9, linestyle="--", label=f"mean, {mean:.2f} kB/s")
    axes.set_ylabel("received per member, kB/s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", frameon=False)
    return _save(figure, folder, "traffic.png")


def _suspicions(runs: Sequence[Result], title: str, folder: Path) -> Path:
    figure, axes = _figure(title)
    for field, label, colour in (
        ("false_suspicions", "live members suspected", "#d98b1f"),
        ("false_deaths", "live members taken for dead", "#c23b33"),
    ):
        _over_time(
            axes,
            ([(sample.at_s, float(getattr(sample, field))) for sample in run.samples] for run in runs),
            colour,
            len(runs),
            label,
        )
    axes.set_ylabel("wrong verdicts so far, of all members together")
    most = max(
        [1, *(sample.false_suspicions + sample.false_deaths for run in runs for sample in run.samples)]
    )
    axes.set_ylim(-0.02 * most, 1.05 * most)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left", frameon=False)
    return _save(figure, folder, "suspicions.png")


def _over_time(
    axes: Any, curves: Iterable[list[tuple[float, float]]], colour: str, runs: int, label: str | None = None
) -> None:
    axes.set_xlabel("seconds of virtual time, from the first event on")
    for number, curve in enumerate(curves):
        if curve:
            times, values = zip(*curve, strict=True)
            axes.plot(
                times,
                values,
                color=colour,
                alpha=max(0.15, 1.0 / runs**0.5),
                label=(label or "each second") if number == 0 else None,
            )


def _steps(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [time_s for time_s, _ in curve], [share for _, share in curve]


def _figure(title: str) -> tuple[Any, Any]:
    # A figure of its own canvas: no display is looked for, and nothing global is touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _save(figure: Any, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    figure.savefig(path, dpi=_DPI)
    return path
