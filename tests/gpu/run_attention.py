"""Checks and times the attention kernels of `codegen/examples/attention_package.rs` on a GPU.

`run_attention.py [FOLDER] [--json FILE] [--parts check,d64]`: each part in a process of its own,
of 20 s at most. Where a kernel's `.cubin` lies beside its `.ptx`, that is loaded.
Results are compared with attention in float64 and times with PyTorch's; what is printed is also
what the JSON file has, line by line.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading
import time

PARTS = ["check", "checkg", "d128", "d64", "forest"]
HERE = os.path.dirname(os.path.abspath(__file__))


def say(*a):
    print(*a, flush=True)


class Kernels:
    def __init__(self, folder):
        import torch

        self.folder = folder
        torch.cuda.init()
        torch.zeros(1, device="cuda")
        self.torch, self.lib, self.loaded = torch, ctypes.CDLL("libcuda.so.1"), {}
        with open(f"{self.folder}/kernels.json") as f:
            self.info = {k["name"]: k for k in json.load(f)}
        if os.environ.get("NO_WGMMA"):
            self.info = {n: k for n, k in self.info.items() if not n.endswith("g")}

    def ok(self, status, what):
        if status != 0:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorName(status, ctypes.byref(text))
            raise RuntimeError(f"{what}: {text.value}")

    def function(self, name):
        if name not in self.loaded:
            info = self.info[name]
            path = f"{self.folder}/{name}.cubin"
            if not os.path.exists(path):
                path = f"{self.folder}/{name}.ptx"
            with open(path, "rb") as f:
                image = f.read() + b"\0"
            module, function = ctypes.c_void_p(), ctypes.c_void_p()
            self.ok(self.lib.cuModuleLoadData(ctypes.byref(module), image), f"load {name}")
            self.ok(
                self.lib.cuModuleGetFunction(ctypes.byref(function), module, name.encode()),
                f"find {name}",
            )
            if info["shared"] > 48 << 10:
                self.ok(
                    self.lib.cuFuncSetAttribute(function, 8, info["shared"]),
                    f"shared memory of {name}",
                )
            self.loaded[name] = (function, image)
        return self.loaded[name][0]

    def launcher(self, name, buffers, dims, tiles, grid=None):
        """What launches the kernel on torch's stream."""
        info, function = self.info[name], self.function(name)
        if not hasattr(self, "status"):
            self.status = self.torch.zeros(1, dtype=self.torch.int32, device="cuda")
        values = (
            [b.data_ptr() for b in buffers] + list(dims) + [tiles, 0, 0, self.status.data_ptr()]
        )
        held = [ctypes.c_uint64(v) for v in values]
        pointers = (ctypes.c_void_p * len(held))(*[ctypes.addressof(h) for h in held])
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)
        shared = info["shared"] if info["shared"] > 48 << 10 else 0
        blocks = grid or tiles

        def launch():
            self.ok(
                self.lib.cuLaunchKernel(
                    function, blocks, 1, 1, info["threads"], 1, 1, shared, stream, pointers, None
                ),
                name,
            )

        launch.held = (held, buffers)
        return launch


def reference(torch, q, k, v, causal):
    """[B,T,H,D] in f64 -> f32; rows that see nothing are 0."""
    B, Tq, H, D = q.shape
    Tk, G = k.shape[1], k.shape[2]
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1)
    s = q @ k.transpose(-1, -2) / D**0.5
    if causal:
        i, j = torch.arange(Tq, device="cuda")[:, None], torch.arange(Tk, device="cuda")[None]
        s = s.masked_fill(j > i + Tk - Tq, float("-inf"))
    p = torch.nan_to_num(torch.softmax(s, -1))
    return (p @ v).transpose(1, 2).float()


def prompt_run(K, name, B, Tq, Tk, poison=float("nan")):
    torch, i = K.torch, K.info[name]
    dt = torch.bfloat16 if i["dtype"] == "bf16" else torch.float16
    q = torch.randn(B, Tq, i["heads"], i["dim"], device="cuda").to(dt)
    k, v = (torch.randn(B, Tk, i["kv_heads"], i["dim"], device="cuda").to(dt) for _ in "kv")
    out = torch.full_like(q, poison)
    tiles = B * i["heads"] * -(-Tq // i["rows"])
    return q, k, v, out, K.launcher(name, [q, k, v, out], [B, Tq, Tk], tiles)


def part_check(K, wgmma):
    torch = K.torch
    torch.manual_seed(0)
    bad = 0
    names = [
        n
        for n, i in K.info.items()
        if i["kind"] in ("check", "prompt") and n.endswith("g") == wgmma
    ]
    for name in names:
        i = K.info[name]
        worst = 0.0
        shapes = (
            [(2, 77, 77), (1, 130, 201), (1, 300, 37), (1, 1, 513), (2, 1025, 1025)]
            if i["kind"] == "check"
            else [(1, 517, 517)]
        )
        try:
            for B, Tq, Tk in shapes:
                q, k, v, out, launch = prompt_run(K, name, B, Tq, Tk)
                launch()
                torch.cuda.synchronize()
                e = (out.float() - reference(torch, q, k, v, i["causal"])).abs().max().item()
                worst = max(worst, e) if e == e else float("nan")
        except Exception as e:
            say(f"check {name}: {e}")
            worst = float("nan")
            if "ILLEGAL" in str(e) or "UNKNOWN" in str(e) or "CUDA error" in str(e):
                say("check: the context is lost")
                sys.exit(3)
        good = worst < (0.02 if i["dtype"] == "bf16" else 0.005)
        bad += not good
        say(f"check {name:44s} largest error {worst:.5f} {'ok' if good else 'WRONG'}")
    say(f"check: {len(names)} kernels{' by wgmma' if wgmma else ''}, {bad} wrong")
    if bad:
        sys.exit(3)


def interleaved(torch, runs, rounds):
    """Medians in ms of each run, one after the other in every round."""
    times = {n: [] for n in runs}
    for r in range(rounds + 2):
        for n, run in runs.items():
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            run()
            b.record()
            if r >= 2:
                times[n].append((a, b))
    torch.cuda.synchronize()
    return {n: statistics.median(a.elapsed_time(b) for a, b in t) for n, t in times.items()}


def part_prompt(K, dim):
    torch = K.torch
    torch.manual_seed(1)
    from torch.nn.attention import SDPBackend, sdpa_kernel
    import torch.nn.functional as F

    say("device", torch.cuda.get_device_name(), "torch", torch.__version__)
    names = [n for n, i in K.info.items() if i["kind"] == "prompt" and i["dim"] == dim]
    for T in (4096, 16384, 8192):
        B, H = 16384 // T, 16
        flops = 4 * B * H * T * T * dim / 2
        runs, held = {}, []
        q0, k0, v0, out, _ = prompt_run(K, names[0], B, T, T)
        for name in names:
            i = K.info[name]
            runs[name] = K.launcher(name, [q0, k0, v0, out], [B, T, T], B * H * -(-T // i["rows"]))
        qt, kt, vt = (x.transpose(1, 2) for x in (q0, k0, v0))

        def sdpa(backend):
            def run():
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(qt, kt, vt, is_causal=True)

            return run

        for label, backend in (
            ("torch flash", SDPBackend.FLASH_ATTENTION),
            ("torch cudnn", SDPBackend.CUDNN_ATTENTION),
        ):
            try:
                sdpa(backend)()
                runs[label] = sdpa(backend)
            except Exception as e:
                say(f"{label}: {str(e)[:80]}")
        alive = {}
        for n, r in runs.items():
            try:
                r()
                torch.cuda.synchronize()
                alive[n] = r
            except Exception as e:
                say(f"{n}: {e}")
        times = interleaved(torch, alive, 7)
        flash = times.get("torch flash", float("nan"))
        for n, t in sorted(times.items(), key=lambda x: x[1]):
            say(
                f"prompt d{dim} T{T} B{B} {n:36s} {t:8.3f} ms {flops / t / 1e9:7.1f} TFLOP/s {flash / t * 100:6.1f} % of flash"
            )


def forest_lists(batch, prefix_blocks, suffix, tokens, shuffle, own_only, tile_tokens, splits, rng):
    """Work lists as runtime/kv makes them: the prefix once for all, then each sequence's own."""
    own_blocks = [-(-s // tokens) for s in suffix]
    total = prefix_blocks + sum(own_blocks)
    ids = rng.permutation(total) if shuffle else range(total)
    ids = [int(x) for x in ids]
    prefix, at = ids[:prefix_blocks], prefix_blocks
    positions = [prefix_blocks * tokens + s - 1 for s in suffix]
    blocks, rows, shared, own, states = list(prefix), [], [], [], 0
    parts = [[] for _ in range(batch)]
    P = prefix_blocks * tokens
    if not own_only:
        per = -(-prefix_blocks // splits)
        for s in range(0, prefix_blocks, per):
            n = min(per, prefix_blocks - s)
            for r in range(0, batch, tile_tokens):
                group = list(range(r, min(r + tile_tokens, batch)))
                shared.append(
                    [s * tokens, n * tokens, s, len(rows), len(group), states, n * tokens]
                )
                for x in group:
                    parts[x].append(states)
                    states += 1
                rows += group
    tables = []
    for b in range(batch):
        mine = ids[at : at + own_blocks[b]]
        at += own_blocks[b]
        tables.append(prefix + mine)
        if own_only:
            n = positions[b] + 1
            per = -(-n // (splits * tokens)) * tokens
            start = len(blocks)
            blocks += prefix + mine
            for s in range(0, n, per):
                c = min(per, n - s)
                own.append([s, c, start + s // tokens, len(rows), 1, states, c])
                rows.append(b)
                parts[b].append(states)
                states += 1
        else:
            own.append([P, suffix[b], len(blocks), len(rows), 1, states, suffix[b]])
            blocks += mine
            rows.append(b)
            parts[b].append(states)
            states += 1
    starts = [0]
    for p in parts:
        starts.append(starts[-1] + len(p))
    return dict(
        positions=positions,
        blocks=blocks,
        rows=rows,
        shared=shared,
        own=own,
        states=states,
        starts=starts,
        parts=[x for p in parts for x in p],
        total=total,
        tables=tables,
    )


def forest_runs(K, kv, lists, q, kc, vc, shared_name, own_name):
    torch = K.torch
    H, D = 16, 128
    dev = lambda x: torch.tensor(x, dtype=torch.int32, device="cuda")
    S = lists["states"]
    T = q.shape[0]
    mx, sm = (torch.full((S, H), float("nan"), device="cuda") for _ in "ab")
    st = torch.full((S, H, D), float("nan"), device="cuda")
    out = torch.full_like(q, float("nan"))
    blocks, rows, positions = dev(lists["blocks"]), dev(lists["rows"]), dev(lists["positions"])
    launches = []
    for name, items in ((shared_name, lists["shared"]), (own_name, lists["own"])):
        if items:
            work = dev(items).reshape(-1)
            dims = [len(items), T, len(lists["blocks"]), len(lists["rows"]), lists["total"], S]
            launches.append(
                K.launcher(
                    name,
                    [q, kc, vc, work, blocks, rows, positions, mx, sm, st],
                    dims,
                    len(items) * kv,
                )
            )
    starts, parts = dev(lists["starts"]), dev(lists["parts"])
    launches.append(
        K.launcher("merge", [mx, sm, st, starts, parts, out], [T, len(lists["parts"]), S], T * H)
    )

    def run():
        for l in launches:
            l()

    run.parts = launches
    return run, out


def part_forest(K):
    import numpy as np

    torch = K.torch
    torch.manual_seed(2)
    rng = np.random.default_rng(3)
    tokens, H, D, batch = 16, 16, 128, 256

    def cache(total, kv):
        return [torch.randn(total, kv, tokens, D, device="cuda").bfloat16() for _ in "kv"]

    shared_of = lambda kv: [n for n in K.info if n.startswith(f"forest_kv{kv}_r128")]
    own_of = lambda kv: [n for n in K.info if n.startswith(f"forest_kv{kv}_r16")]
    # Correctness: ragged own parts, a prefix that does not divide into equal splits.
    for kv in (4, 16):
        suffix = [int(x) for x in rng.integers(1, 130, batch)]
        tile_tokens = 128 // (H // kv)
        lists = forest_lists(batch, 62, suffix, tokens, True, False, tile_tokens, 5, rng)
        flat = forest_lists(batch, 62, suffix, tokens, True, True, 1, 3, rng)
        q = torch.randn(batch, H, D, device="cuda").bfloat16()
        for label, ls in (("shared", lists), ("not shared", flat)):
            kc, vc = cache(ls["total"], kv)
            want = []
            for b in range(batch):
                t = torch.tensor(ls["tables"][b], device="cuda")
                n = ls["positions"][b] + 1
                k, v = (c[t].transpose(0, 1).reshape(kv, -1, D)[:, :n].float() for c in (kc, vc))
                k, v = k.repeat_interleave(H // kv, 0), v.repeat_interleave(H // kv, 0)
                p = torch.softmax((k @ q[b].float()[:, :, None])[:, :, 0] / D**0.5, -1)
                want.append((p[:, None] @ v)[:, 0])
            want = torch.stack(want)
            for sn, on in zip(shared_of(kv) + shared_of(kv), own_of(kv)):
                run, out = forest_runs(K, kv, ls, q, kc, vc, sn, on)
                run()
                torch.cuda.synchronize()
                e = (out.float() - want).abs().max().item()
                say(
                    f"check forest kv{kv} {label:10s} {sn} {on}: largest error {e:.5f} {'ok' if e < 0.02 else 'WRONG'}"
                )
    for kv in (8, 4, 2, 16):
        suffix = [128] * batch
        tile_tokens = 128 // (H // kv)
        lists = {
            s: forest_lists(batch, 1024, suffix, tokens, True, False, tile_tokens, s, rng)
            for s in (8, 16)
        }
        flats = {
            s: forest_lists(batch, 1024, suffix, tokens, True, True, 1, s, rng) for s in (1, 4)
        }
        kc, vc = cache(lists[8]["total"], kv)
        q = torch.randn(batch, H, D, device="cuda").bfloat16()
        runs = {}
        for s, ls in lists.items():
            for sn in shared_of(kv):
                for on in own_of(kv)[:1]:
                    runs[f"shared/{s} {sn[len('forest_') :]} {on[-9:]}"] = forest_runs(
                        K, kv, ls, q, kc, vc, sn, on
                    )[0]
        best = list(runs)
        for s, ls in flats.items():
            for on in own_of(kv):
                runs[f"not shared/{s} {on[len('forest_') :]}"] = forest_runs(
                    K, kv, ls, q, kc, vc, shared_of(kv)[0], on
                )[0]
        times = interleaved(torch, runs, 3)
        flat = min(t for n, t in times.items() if n.startswith("not"))
        fast = min((t, n) for n, t in times.items() if not n.startswith("not"))
        pieces = interleaved(torch, {i: l for i, l in enumerate(runs[fast[1]].parts)}, 3)
        for n, t in sorted(times.items(), key=lambda x: x[1]):
            say(f"forest kv{kv} {n:44s} {t:8.3f} ms")
        size = 2 * kv * D * 2
        say(
            f"forest kv{kv}: shared {fast[0]:.3f} ms (prefix {pieces[0]:.3f}, own {pieces[1]:.3f} = {batch * 128 * size / pieces[1] / 1e9:.2f} TB/s, merge {pieces[2]:.3f}), not shared {flat:.3f} ms "
            f"({batch * 16512 * size / flat / 1e9:.2f} TB/s of L2 or memory): {flat / fast[0]:.1f} x"
        )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", nargs="?", default=HERE)
    arguments.add_argument("--json")
    arguments.add_argument("--parts", default=",".join(PARTS), help="which, by commas")
    arguments.add_argument("--part", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.part:
        parts = {
            "check": lambda k: part_check(k, False),
            "checkg": lambda k: part_check(k, True),
            "d128": lambda k: part_prompt(k, 128),
            "d64": lambda k: part_prompt(k, 64),
            "forest": part_forest,
        }
        return parts[options.part](Kernels(options.folder))
    start, lines, failed = time.time(), [], []
    for part in options.parts.split(","):
        command = [sys.executable, __file__, options.folder, "--part", part]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        timer = threading.Timer(20, child.kill)
        timer.start()
        for line in child.stdout:
            say(line.rstrip())
            lines.append(line.rstrip())
        timer.cancel()
        if child.wait() != 0:
            failed.append(part)
            if part == "checkg":
                os.environ["NO_WGMMA"] = "1"
        say(f"-- {part}: exit {child.returncode}, {time.time() - start:.1f} s so far")
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"lines": lines, "failed": failed}, f, indent=1)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
