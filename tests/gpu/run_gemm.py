"""Checks and times the products of `codegen/examples/gemm_package.rs` on a GPU.

`run_gemm.py [FOLDER] [--json FILE]`: checking and timing each in a process of its own, of 40 s at
most. Results are compared with PyTorch's in float32, times with its product's (cuBLAS).
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ["check", "time"]
# Rows, columns, terms: tails everywhere, odd columns, fewer terms than a step.
ODD = [
    (1, 16, 8),
    (77, 130, 72),
    (129, 257, 64),
    (300, 1003, 200),
    (128, 256, 512),
    (999, 520, 1032),
]
LARGE = [(8192, 8192, 8192), (4096, 4096, 4096), (4096, 11008, 4096)]
MULTIPROCESSORS = 132


def say(*a):
    print(*a, flush=True)


class Kernels:
    def __init__(self, folder):
        import torch

        torch.zeros(1, device="cuda")
        self.torch, self.lib, self.folder = torch, ctypes.CDLL("libcuda.so.1"), folder
        with open(f"{folder}/kernels.json") as f:
            self.all = json.load(f)
        self.status = torch.zeros(1, dtype=torch.int32, device="cuda")

    def ok(self, status, what):
        if status != 0:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorName(status, ctypes.byref(text))
            raise RuntimeError(f"{what}: {text.value}")

    def function(self, kernel):
        name = kernel["name"]
        with open(f"{self.folder}/{name}.ptx", "rb") as f:
            image = f.read() + b"\0"
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.ok(self.lib.cuModuleLoadData(ctypes.byref(module), image), f"load {name}")
        entry = name.encode()
        self.ok(self.lib.cuModuleGetFunction(ctypes.byref(function), module, entry), name)
        self.ok(self.lib.cuFuncSetAttribute(function, 8, kernel["shared"]), name)
        return function

    def launcher(self, kernel, function, operands, dims, blocks=None):
        """What launches the kernel on PyTorch's stream; its parameters are the artifact's ABI."""
        tiles = -(-dims[0] // kernel["rows"]) * -(-dims[1] // kernel["cols"])
        values = [x.data_ptr() for x in operands] + [*dims, tiles, 0, 0, self.status.data_ptr()]
        held = [ctypes.c_uint64(v) for v in values]
        pointers = (ctypes.c_void_p * len(held))(*[ctypes.addressof(h) for h in held])
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)
        grid = min(tiles, blocks or tiles)

        def launch():
            status = self.lib.cuLaunchKernel(
                function,
                grid,
                1,
                1,
                kernel["threads"],
                1,
                1,
                kernel["shared"],
                stream,
                pointers,
                None,
            )
            self.ok(status, kernel["name"])

        launch.held = (held, operands)
        return launch

    def dtype(self, name):
        return {
            "bf16": self.torch.bfloat16,
            "f16": self.torch.float16,
            "f32": self.torch.float32,
        }[name]


def check(k):
    torch, wrong, ran = k.torch, 0, 0
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    for kernel in k.all:
        function, dtype = k.function(kernel), k.dtype(kernel["dtype"])
        worst = 0.0
        for m, n, terms in ODD:
            a = torch.randn(m, terms, device="cuda").to(dtype)
            b = torch.randn(n, terms, device="cuda").to(dtype)
            bias = torch.randn(n, device="cuda")
            c = torch.full((m, n), float("nan"), device="cuda", dtype=k.dtype(kernel["result"]))
            want = a.double() @ b.double().T
            operands = [a, b, c]
            if kernel["bias"]:
                operands = [a, b, bias, c]
                want = (want + bias.double()).clamp(min=-1.5)
            k.launcher(kernel, function, operands, [m, n, terms])()
            torch.cuda.synchronize()
            eps = {"bf16": 2**-8, "f16": 2**-11, "f32": 1e-5}[kernel["result"]]
            bound = eps * want.abs() + 1e-5 * terms**0.5
            excess = ((c.double() - want).abs() / bound).max().item()
            worst = max(worst, excess) if excess == excess else float("inf")
        ran += 1
        wrong += not worst <= 1.0
        say(
            f"check {kernel['name']:36s} {worst:.3f} of the bound {'ok' if worst <= 1 else 'WRONG'}"
        )
    say(f"check: {ran} kernels, {wrong} wrong")
    sys.exit(wrong > 0)


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


def time_all(k):
    torch = k.torch
    torch.manual_seed(2)
    say("device", torch.cuda.get_device_name(), "torch", torch.__version__)
    kernels = [x for x in k.all if x["kind"] == "time"]
    functions = {x["name"]: k.function(x) for x in kernels}
    for m, n, terms in LARGE:
        a, b = (torch.randn(rows, terms, device="cuda").bfloat16() for rows in (m, n))
        c = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
        runs = {"torch": lambda: torch.matmul(a, b.T, out=c)}
        for x in kernels:
            f = functions[x["name"]]
            runs[x["name"]] = k.launcher(x, f, [a, b, c], [m, n, terms])
            if x["cols"] >= 192:
                resident = k.launcher(x, f, [a, b, c], [m, n, terms], MULTIPROCESSORS)
                runs[x["name"] + " persistent"] = resident
        times = interleaved(torch, runs, 9)
        for name, t in sorted(times.items(), key=lambda x: x[1]):
            rate = 2 * m * n * terms / t / 1e9
            say(
                f"gemm {m}x{n}x{terms} {name:44s} {t:8.3f} ms {rate:7.1f} TFLOP/s "
                f"{times['torch'] / t * 100:6.1f} % of torch"
            )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", nargs="?", default=HERE)
    arguments.add_argument("--json")
    arguments.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.part:
        return {"check": check, "time": time_all}[options.part](Kernels(options.folder))
    lines, failed = [], []
    for part in PARTS:
        command = [sys.executable, __file__, options.folder, "--part", part]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        timer = threading.Timer(40, child.kill)
        timer.start()
        for line in child.stdout:
            say(line.rstrip())
            lines.append(line.rstrip())
        timer.cancel()
        if child.wait() != 0:
            failed.append(part)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"lines": lines, "failed": failed}, f, indent=1)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
