"""What the benchmarks beside PyTorch share: kernels of a package, launched on its stream; medians of
interleaved runs; parts in processes of their own."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import threading

from driver import Driver


def say(*a):
    print(*a, flush=True)


class Kernels:
    """The kernels of a folder's `kernels.json`, and PyTorch in the same context."""

    def __init__(self, folder):
        import torch

        torch.zeros(1, device="cuda")
        self.torch, self.folder, self.driver = torch, pathlib.Path(folder), Driver()
        all_kernels = json.loads((self.folder / "kernels.json").read_text())
        self.info = {k["name"]: k for k in all_kernels}
        self.functions = {}
        self.status = torch.zeros(1, dtype=torch.int32, device="cuda")

    def function(self, name):
        if name not in self.functions:
            module = self.driver.module((self.folder / f"{name}.ptx").read_text())
            self.functions[name] = self.driver.function(module, name, self.info[name]["shared"])
        return self.functions[name]

    def launcher(self, name, operands, dims, tiles, blocks=None):
        """What launches a kernel on PyTorch's stream; its parameters are the artifact's ABI, its
        shared memory is static unless it is more than a kernel may declare."""
        info, function = self.info[name], self.function(name)
        params = [x.data_ptr() for x in operands] + [*dims, tiles, 0, 0, self.status.data_ptr()]
        stream = self.torch.cuda.current_stream().cuda_stream
        grid = min(tiles, blocks or tiles)

        def launch():
            self.driver.launch(function, grid, info["threads"], params, info["shared"], stream)

        launch.operands = operands
        return launch

    def dtype(self, name):
        t = self.torch
        return {"bf16": t.bfloat16, "f16": t.float16, "f32": t.float32}[name]


def interleaved(torch, runs, rounds):
    """Medians in ms of each run, one after the other in every round."""
    times = {n: [] for n in runs}
    for r in range(rounds + 2):
        for n, run in runs.items():
            a, b = (torch.cuda.Event(enable_timing=True) for _ in "ab")
            a.record()
            run()
            b.record()
            if r >= 2:
                times[n].append((a, b))
    torch.cuda.synchronize()
    return {n: statistics.median(a.elapsed_time(b) for a, b in t) for n, t in times.items()}


def main(description, parts, limit_s):
    """`FOLDER [--json FILE] [--parts A,B]`: each part, a function of the kernels that returns how much
    was wrong, in a process of `limit_s` seconds at most; what is printed is also what the file has.
    Exits with 1 if anything was wrong, or did not end."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("folder")
    arguments.add_argument("--json", type=pathlib.Path)
    arguments.add_argument("--parts", default=",".join(parts), help="which, by commas")
    arguments.add_argument("--part", choices=list(parts), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.part:
        sys.exit(parts[options.part](Kernels(options.folder)) > 0)
    lines, failed = [], []
    for part in options.parts.split(","):
        command = [sys.executable, sys.argv[0], options.folder, "--part", part]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        timer = threading.Timer(limit_s, child.kill)
        timer.start()
        for line in child.stdout:
            say(line.rstrip())
            lines.append(line.rstrip())
        timer.cancel()
        if child.wait() != 0:
            failed.append(part)
            say(f"FAILED {part}: exit {child.returncode}")
    if options.json:
        options.json.write_text(json.dumps({"lines": lines, "failed": failed}, indent=1))
    sys.exit(bool(failed))
