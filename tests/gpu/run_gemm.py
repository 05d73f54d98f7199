"""Checks and times the products of `codegen/examples/gemm_package.rs` on a GPU: `run_gemm.py FOLDER`.

Results are compared with PyTorch's in float64, times with its product's (cuBLAS).
"""

from bench import interleaved, main, say

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
# How far a result's last digit is from the number, relative.
ROUNDING = {"bf16": 2**-8, "f16": 2**-11, "f32": 1e-5}


def launcher(k, name, operands, dims, blocks=None):
    info = k.info[name]
    tiles = -(-dims[0] // info["rows"]) * -(-dims[1] // info["cols"])
    return k.launcher(name, operands, dims, tiles, blocks)


def excess(k, name, shape):
    """The largest error, as a multiple of what is allowed."""
    torch, info, (m, n, terms) = k.torch, k.info[name], shape
    dtype = k.dtype(info["dtype"])
    a = torch.randn(m, terms, device="cuda").to(dtype)
    b = torch.randn(n, terms, device="cuda").to(dtype)
    bias = torch.randn(n, device="cuda")
    c = torch.full((m, n), float("nan"), device="cuda", dtype=k.dtype(info["result"]))
    want = a.double() @ b.double().T
    operands = [a, b, c]
    if info["bias"]:
        operands = [a, b, bias, c]
        want = (want + bias.double()).clamp(min=-1.5)
    launcher(k, name, operands, [m, n, terms])()
    torch.cuda.synchronize()
    bound = ROUNDING[info["result"]] * want.abs() + 1e-5 * terms**0.5
    worst = ((c.double() - want).abs() / bound).max().item()
    return worst if worst == worst else float("inf")


def check(k):
    k.torch.manual_seed(1)
    wrong = 0
    for name in k.info:
        worst = max(excess(k, name, shape) for shape in ODD)
        wrong += worst > 1.0
        say(f"check {name:36s} {worst:.3f} of the bound {'ok' if worst <= 1 else 'WRONG'}")
    say(f"check: {len(k.info)} kernels, {wrong} wrong")
    return wrong


def time_all(k):
    torch = k.torch
    torch.manual_seed(2)
    resident = torch.cuda.get_device_properties(0).multi_processor_count
    say("device", torch.cuda.get_device_name(), "torch", torch.__version__)
    for m, n, terms in LARGE:
        a, b = (torch.randn(rows, terms, device="cuda").bfloat16() for rows in (m, n))
        c = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
        runs = {"torch": lambda: torch.matmul(a, b.T, out=c)}
        for name, info in k.info.items():
            if info["kind"] != "time":
                continue
            runs[name] = launcher(k, name, [a, b, c], [m, n, terms])
            if info["cols"] >= 192:
                persistent = launcher(k, name, [a, b, c], [m, n, terms], resident)
                runs[f"{name} persistent"] = persistent
        times = interleaved(torch, runs, 9)
        for name, t in sorted(times.items(), key=lambda x: x[1]):
            rate = 2 * m * n * terms / t / 1e9
            say(
                f"gemm {m}x{n}x{terms} {name:44s} {t:8.3f} ms {rate:7.1f} TFLOP/s "
                f"{times['torch'] / t * 100:6.1f} % of torch"
            )
    return 0


if __name__ == "__main__":
    main(__doc__.splitlines()[0], {"check": check, "time": time_all}, 40)
