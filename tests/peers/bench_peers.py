"""Latency of Cascata beside its peers: ONNX Runtime, OpenVINO (f32, and bf16 where the CPU has it),
tract and IREE where they load the model.

  tests/setup_env.sh --peers
  cargo build --release -p cascata && (cd tests/peers/tract && cargo build)
  .venv-peers/bin/python tests/peers/bench_peers.py [--model ID]... [--batch 1,8] [--threads 1,2]
      [--engines onnxruntime,openvino,tract,iree] [--blocks 7] [--seconds 0.4] [--out tests/reports/cpu]
      [--precision bf16]

Per model, batch and number of threads every engine runs in a process of its own on the same
processors; then blocks of all engines alternate, in another order each time, so that a drift of
the machine hits all of them alike. Cascata is measured by `cascata bench`, a new process per block.

A block gives a median and the 10th and 90th percentile; the table has the medians of those over
the blocks. The ratio is (best peer) / Cascata, above 1 where Cascata is faster: the median of the
blocks' own ratios, with the bounds between which 95 % of 2,000 bootstrap samples of the blocks lie.
The best peer of a case is the one with the least median. Load time is from file to a session that
can run (OpenVINO compiles in it; IREE compiled before); memory is the peak of the engine's process,
for the Python peers with Python in it.

Writes report.json, report.md and report.svg. A peer that cannot run a case is listed with its reason.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import report

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))

import catalog  # noqa: E402
import inputs  # noqa: E402

TRACT = HERE / "tract/target/debug/tract-peer"
PEERS = ["onnxruntime", "openvino", "openvino_bf16", "tract", "iree"]

# The first issue's models; the quantised ones count on their own.
MODELS = ["magika", "ocr_det", "ocr_rec", "ocr_cls", "nudenet", "nsfw", "minilm_l3", "minilm_int8",
          "minilm_l3_dynamic", "ocr_cls_qdq", "silero_ifless", "wake_embedding"]  # fmt: skip

# Symbols that count entries of a batch.
BATCH_SYMBOLS = ("N", "B")


class Unable(Exception):
    """The engine cannot run the case."""


class Peer:
    """A peer's process; see engine.py for what is said."""

    def __init__(self, name: str, model: catalog.Model, feeds: Path, threads: int):
        self.name = name
        command = [sys.executable, str(HERE / "engine.py"), name, str(model.path), str(feeds), str(threads)]
        if name == "tract" and not TRACT.exists():
            raise Unable("not built: cd tests/peers/tract && cargo build")
        if name == "tract":
            command = [str(TRACT), str(model.path), str(feeds)]
        self.errors = tempfile.TemporaryFile("w+")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, bufsize=1)
        self.blocks = []
        self.load = self.reply()

    def reply(self) -> dict:
        """The next object that the process prints."""
        for line in self.process.stdout:
            # Libraries print too.
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        raise Unable(reason_of(lines))

    def block(self, seconds: float) -> None:
        """Measures for a while."""
        print(seconds, file=self.process.stdin, flush=True)
        reply = self.reply()
        p10, median, p90 = np.percentile(reply["times_ns"], [10, 50, 90])
        self.load["peak_rss_bytes"] = reply["peak_rss_bytes"]
        self.blocks.append({"median_ns": median, "p10_ns": p10, "p90_ns": p90})

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def reason_of(lines: list[str]) -> str:
    """The line that says why: the first of an error, or the last."""
    telling = [line for line in lines if "rror" in line and not line.startswith(("Traceback", "File"))]
    return (telling or lines or ["ended without a word"])[0][:200]


class Cascata:
    """`cascata bench`, once per block."""

    name = "cascata"

    def __init__(self, command: str, artifact: Path, feeds: Path, threads: int):
        self.command = [command, "bench", artifact, "--input", feeds, "--threads", str(threads), "--json"]
        self.blocks, self.load = [], {}

    def block(self, seconds: float) -> None:
        """Measures for a while."""
        command = [*map(str, self.command), "--seconds", str(seconds)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise Unable(result.stderr.strip().splitlines()[-1][:200])
        found = json.loads(result.stdout)
        for name in ("load_ns", "first_run_ns", "peak_rss_bytes"):
            self.load.setdefault(name, []).append(found[name])
        self.blocks.append({name: found[name] for name in ("median_ns", "p10_ns", "p90_ns")})

    def close(self) -> None:
        """Every block loads anew: the medians."""
        self.load = {name: float(np.median(values)) for name, values in self.load.items()}


def bf16_here() -> bool:
    """Whether this CPU multiplies bf16."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def cases(model: catalog.Model, batches: list[int]) -> list[tuple[int, dict]]:
    """The model's first case, once per batch size that it can have."""
    first = model.cases[0]
    symbol = next((s for s in BATCH_SYMBOLS if s in model.symbols), None)
    if symbol is None:
        return [(1, first)]
    top = model.symbols[symbol]["max"]
    return [(b, first | {"name": f"{first['name']}_batch{b}", symbol: b}) for b in batches if b <= top]


def as_declared(name: str, array: np.ndarray) -> np.ndarray:
    """ONNX Runtime takes one element for a number; the others want the declared rank."""
    return array.reshape(()) if name == "sr" else array


def compile_model(options, model: catalog.Model, folder: Path) -> Path:
    """The model's artifact; made anew each time, so that it is this compiler's."""
    artifact = folder / f"{model.id}.casc"
    command = [options.cascata, "compile", model.path, "-o", artifact, "--precision", options.precision]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise Unable(result.stderr.strip().splitlines()[-1][:200])
    return artifact


def start(options, model, artifact: Path, feeds: Path, threads: int) -> tuple[list, dict]:
    """The engines that can run the case, and the reasons of the others."""
    engines, refused = [Cascata(options.cascata, artifact, feeds, threads)], {}
    for name in options.engines:
        try:
            engines.append(Peer(name, model, feeds, threads))
        except Unable as why:
            refused[name] = str(why)
    return engines, refused


def measure(options, model, artifact: Path, feeds: Path, threads: int) -> dict:
    """One row: all engines, block by block."""
    engines, refused = start(options, model, artifact, feeds, threads)
    order = random.Random(0)
    try:
        for _ in range(options.blocks):
            for engine in order.sample(engines, len(engines)):
                engine.block(options.seconds)
    finally:
        for engine in engines:
            engine.close()
    found = {e.name: {"blocks": e.blocks} | e.load for e in engines}
    return {"engines": found, "refused": refused}


def bench(options, model: catalog.Model, folder: Path) -> list[dict]:
    """All rows of a model."""
    artifact = compile_model(options, model, folder)
    rows = []
    for batch, case in cases(model, options.batch):
        feeds = folder / "inputs.npz"
        np.savez(feeds, **{name: as_declared(name, a) for name, a in inputs.make(model, case).items()})
        for threads in options.threads:
            os.sched_setaffinity(0, options.processors[:threads])
            head = {"model": model.id, "case": case["name"], "batch": batch, "threads": threads}
            rows.append(head | report.summary(measure(options, model, artifact, feeds, threads)))
            print(report.line(rows[-1]), flush=True)
    return rows


def numbers(text: str) -> list[int]:
    """`1,8` as a list."""
    return [int(n) for n in text.split(",")]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="model id (repeatable; default: a dozen)")
    parser.add_argument("--batch", type=numbers, default=[1, 8])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--engines", type=lambda text: text.split(","), help="peers (default: ONNX Runtime and OpenVINO)")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="per block and engine")
    parser.add_argument("--precision", default="f32", help="of Cascata's products: f32 or bf16")
    parser.add_argument("--cascata", default="target/release/cascata", help="command to measure")
    parser.add_argument("--out", type=Path, default=HERE.parent / "reports" / "cpu")
    options = parser.parse_args()
    options.processors = sorted(os.sched_getaffinity(0))
    if max(options.threads) > len(options.processors):
        raise SystemExit(f"{max(options.threads)} threads asked for, {len(options.processors)} processors here")
    defaults = ["onnxruntime", "openvino"] + ["openvino_bf16"] * bf16_here()
    options.engines = options.engines or defaults
    unknown = set(options.engines) - set(PEERS)
    if unknown:
        raise SystemExit(f"no peers called {', '.join(sorted(unknown))}; known: {', '.join(PEERS)}")
    return options


def main() -> None:
    """Measures and reports."""
    options = parse()
    rows, refused = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for model in catalog.load(options.model or MODELS):
            try:
                rows += bench(options, model, Path(folder))
            except Unable as why:
                refused[model.id] = str(why)
                print(f"{model.id}: {why}", flush=True)
    report.write(rows, refused, options)


if __name__ == "__main__":
    main()
