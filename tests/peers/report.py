"""What bench_peers.py found, as JSON, a Markdown table and a bar chart."""

import json
import platform
from pathlib import Path

import numpy as np

SAMPLES = 2000


def paired(ours: list[float], theirs: list[float]) -> dict:
    """The median of the blocks' ratios, with its 95 % bootstrap bounds."""
    ratios = np.array(theirs) / np.array(ours)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (SAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def summary(measured: dict) -> dict:
    """Percentiles per engine and the ratio to the best peer."""
    engines = {}
    for name, engine in measured["engines"].items():
        blocks = engine.pop("blocks")
        percentiles = {k: float(np.median([b[k] for b in blocks])) for k in ("median_ns", "p10_ns", "p90_ns")}
        engines[name] = percentiles | engine | {"block_medians_ns": [float(b["median_ns"]) for b in blocks]}
    peers = [name for name in engines if name != "cascata"]
    best = min(peers, key=lambda name: engines[name]["median_ns"], default=None)
    row = {"engines": engines, "refused": measured["refused"], "best": best}
    if best:
        ours, theirs = engines["cascata"]["block_medians_ns"], engines[best]["block_medians_ns"]
        row["to_best"] = paired(ours, theirs)
    return row


def milliseconds(ns: float) -> str:
    """Three digits or so."""
    return f"{ns / 1e6:.3g}" if ns < 1e8 else f"{ns / 1e6:.0f}"


def name_of(row: dict) -> str:
    """Model, batch, threads."""
    return f"{row['model']} · batch {row['batch']} · {row['threads']} thread{'s' * (row['threads'] > 1)}"


def line(row: dict) -> str:
    """One row while it is measured."""
    times = ", ".join(f"{name} {milliseconds(e['median_ns'])}" for name, e in row["engines"].items())
    to_best = row.get("to_best")
    ratio = f"; {to_best['ratio']:.2f} [{to_best['low']:.2f}, {to_best['high']:.2f}]" if to_best else ""
    return f"{name_of(row)}: {times} ms{ratio}"


def geometric_mean(rows: list[dict]) -> float:
    """Of the ratios to the best peer."""
    return float(np.exp(np.mean([np.log(r["to_best"]["ratio"]) for r in rows])))


def table(rows: list[dict]) -> str:
    """Markdown: a line per row and engine."""
    head = ["model", "batch", "threads", "engine", "median ms", "p10", "p90", "load ms", "first run ms", "peak MB", "best peer / Cascata (95 %)"]
    lines = [head, ["---"] * 3 + ["---"] + ["---:"] * 7]
    for row in rows:
        for name, e in row["engines"].items():
            to_best = row.get("to_best") if name == "cascata" else None
            ratio = f"{to_best['ratio']:.2f} ({to_best['low']:.2f} to {to_best['high']:.2f}), {row['best']}" if to_best else ""
            times = [milliseconds(e[k]) for k in ("median_ns", "p10_ns", "p90_ns", "load_ns", "first_run_ns")]
            memory = f"{e['peak_rss_bytes'] / 1e6:.0f}"
            lines.append([row["model"], str(row["batch"]), str(row["threads"]), name, *times, memory, ratio])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def refusals(rows: list[dict], models: dict) -> str:
    """What could not be measured, each reason once."""
    found = {(row["model"], name, why): None for row in rows for name, why in row["refused"].items()}
    found |= {(model, "cascata", why): None for model, why in models.items()}
    lines = [f"* {model}, {name}: {why}" for model, name, why in found]
    return "\n".join(lines) or "Nothing."


def markdown(rows: list[dict], refused: dict, options) -> str:
    """The report's page."""
    compared = [r for r in rows if "to_best" in r]
    means = []
    for threads in options.threads:
        these = [r for r in compared if r["threads"] == threads]
        if these:
            slower = sum(r["to_best"]["ratio"] < 1 for r in these)
            means.append(f"{threads} thread(s): geometric mean {geometric_mean(these):.2f} over {len(these)} cases, {slower} below 1.")
    text = [
        "# Cascata beside its peers, CPU",
        f"Written by `tests/peers/bench_peers.py` ({options.blocks} blocks of {options.seconds} s per engine; Cascata multiplies {options.precision}) on {cpu()}; "
        "what the columns mean is in its first lines. The last column is above 1 where Cascata is faster than the best peer.",
        " ".join(means),
        "![ratios](report.svg)",
        table(rows),
        "## Not measured",
        refusals(rows, refused),
    ]
    return "\n\n".join(text) + "\n"


def cpu() -> str:
    """The processor's name."""
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(":", 1)[1].strip()
    return platform.machine()


def chart(rows: list[dict], path: Path) -> None:
    """Bars: how many times faster than each peer Cascata is."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "cascata", "font.size": 8}
    import matplotlib.pyplot as plt

    peers = list(dict.fromkeys(name for row in rows for name in row["engines"] if name != "cascata"))
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.12 * len(rows) * (len(peers) + 1)), layout="constrained")
    at, height = np.arange(len(rows)), 0.8 / max(len(peers), 1)
    for i, peer in enumerate(peers):
        with_peer = [(y, row["engines"]) for y, row in zip(at, rows, strict=True) if peer in row["engines"]]
        ratios = [e[peer]["median_ns"] / e["cascata"]["median_ns"] for _, e in with_peer]
        axes.barh([y + (i + 0.5) * height - 0.4 for y, _ in with_peer], ratios, height, label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", yticks=at, yticklabels=[name_of(row) for row in rows], xlabel="peer's latency / Cascata's (right of 1: Cascata is faster)")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def write(rows: list[dict], refused: dict, options) -> None:
    """All three files."""
    if not rows:
        raise SystemExit("nothing was measured")
    options.out.mkdir(parents=True, exist_ok=True)
    whole = {"cpu": cpu(), "blocks": options.blocks, "seconds": options.seconds, "rows": rows, "refused": refused}
    (options.out / "report.json").write_text(json.dumps(whole, indent=1) + "\n")
    (options.out / "report.md").write_text(markdown(rows, refused, options))
    chart(rows, options.out / "report.svg")
    print(f"wrote {options.out}/report.json, report.md, report.svg")
