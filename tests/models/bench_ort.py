"""Latency of ONNX Runtime on the test models, alone or side by side with `cascata bench`.

Alone:
  python tests/models/bench_ort.py --model magika --case n1 --threads 2 --runs 200 [--json]

Side by side (every model and case unless --model / --case choose):
  python tests/models/bench_ort.py --cascata target/release/cascata --artifact '.cache/artifacts/{id}.casc'

Then each case alternates blocks: ONNX Runtime in this process, then
  CASCATA bench FILE --input inputs.npz --threads T --json
which prints one JSON object with a field `median_ns`. FILE is --artifact with {id} replaced. The
ratio is ONNX Runtime's time over Cascata's, above 1 where Cascata is faster; per case it is the
median of the ratios of the blocks, so that a drift of the machine hits both sides alike.

Both sides run on the same T processors. Needs the files of fetch.py and reference.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import numpy as np
import onnxruntime

import catalog


def pin(threads: int) -> None:
    """Keeps this process, and its children, on the first `threads` processors it may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise SystemExit(f"{threads} threads asked for, {len(allowed)} processors here")
    os.sched_setaffinity(0, allowed[:threads])


def load_session(model: catalog.Model, threads: int) -> onnxruntime.InferenceSession:
    """A session with default optimisations and `threads` compute threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])


def load_feeds(model: catalog.Model, case: dict) -> dict[str, np.ndarray]:
    """The reference inputs of the case."""
    path = model.refs(case) / "inputs.npz"
    if not path.is_file():
        raise SystemExit(f"no {path}: run python tests/models/reference.py {model.id}")
    with np.load(path) as arrays:
        return dict(arrays)


def time_runs(session, feeds: dict, runs: int, warmup: int) -> list[int]:
    """Nanoseconds of each of `runs` runs, after `warmup` runs that do not count."""
    times = []
    for _ in range(warmup + runs):
        start = time.perf_counter_ns()
        session.run(None, feeds)
        times.append(time.perf_counter_ns() - start)
    return times[warmup:]


def summary(times: list[int]) -> dict[str, int]:
    """Median and the 10th and 90th percentile."""
    p10, median, p90 = (int(value) for value in np.percentile(times, [10, 50, 90]))
    return {"median_ns": median, "p10_ns": p10, "p90_ns": p90}


def cascata_median(options, model: catalog.Model, case: dict) -> int:
    """One `cascata bench` run; its median in nanoseconds."""
    command = [options.cascata, "bench", options.artifact.replace("{id}", model.id)]
    command += ["--input", str(model.refs(case) / "inputs.npz"), "--threads", str(options.threads), "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    return json.loads(result.stdout)["median_ns"]


def compare(options, model: catalog.Model, case: dict) -> dict:
    """Alternating blocks of both; medians over the blocks."""
    session, feeds = load_session(model, options.threads), load_feeds(model, case)
    ours, theirs = [], []
    for _ in range(options.blocks):
        theirs.append(summary(time_runs(session, feeds, options.runs, options.warmup))["median_ns"])
        ours.append(cascata_median(options, model, case))
    ratio = statistics.median(their / our for their, our in zip(theirs, ours, strict=True))
    medians = {"ort_ns": statistics.median(theirs), "cascata_ns": statistics.median(ours)}
    return {"model": model.id, "case": case["name"], "threads": options.threads, **medians, "ratio": ratio}


def measure(options, model: catalog.Model, case: dict) -> dict:
    """ONNX Runtime alone."""
    session, feeds = load_session(model, options.threads), load_feeds(model, case)
    times = time_runs(session, feeds, options.runs, options.warmup)
    return {"model": model.id, "case": case["name"], "threads": options.threads, "runs": options.runs, **summary(times)}


def table(rows: list[dict]) -> str:
    """A Markdown table; nanosecond columns are shown in milliseconds."""
    columns = list(rows[0])
    lines = [[name.removesuffix("_ns") + " ms" if name.endswith("_ns") else name for name in columns], ["---"] * len(columns)]
    lines += [[cell(name, row[name]) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(name: str, value) -> str:
    """One value of the table."""
    if name.endswith("_ns"):
        return f"{value / 1e6:.3f}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model id (default: all)")
    parser.add_argument("--case", help="case name (default: all of each model)")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of either side (default 1)")
    parser.add_argument("--runs", type=int, default=50, help="timed ONNX Runtime runs per block (default 50)")
    parser.add_argument("--warmup", type=int, default=5, help="untimed runs before each block (default 5)")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each side in a comparison (default 5)")
    parser.add_argument("--cascata", metavar="PATH", help="compare with this cascata command")
    parser.add_argument("--artifact", default=".cache/artifacts/{id}.casc", help="file to give to cascata bench; {id} is the model's (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON object per case instead of a table")
    return parser.parse_args()


def main() -> None:
    """Measures or compares, one row per case."""
    options = parse()
    pin(options.threads)
    rows = []
    for model in catalog.load([options.model] if options.model else None):
        for case in [model.case(options.case)] if options.case else model.cases:
            rows.append((compare if options.cascata else measure)(options, model, case))
            if options.json:
                print(json.dumps(rows[-1]), flush=True)
    if not options.json:
        print(table(rows))


if __name__ == "__main__":
    main()
