"""Runs single kernels on a GPU: `run_cases.py FOLDER [--json FILE]`.

FOLDER has a `cases.json` as `codegen/ptx/examples/gpu_cases.rs` writes it: PTX files, operands
and what the Kernel IR interpreter gives. Each module is loaded once; results are poisoned before
a launch. Prints the failures and a last line with counts.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from driver import CudaError, Driver

NUMPY = {
    "bool": "u1", "i8": "i1", "u8": "u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4",
    "i64": "<i8", "u64": "<u8", "f16": "<f2", "f32": "<f4", "f64": "<f8",
}  # fmt: skip


def numbers(dtype, data):
    """Elements as float64 (integers of 64 bits as Python would compare them: exactly)."""
    if dtype == "bf16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    array = np.frombuffer(data, NUMPY[dtype])
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def ulp(dtype, want):
    """The distance between neighbouring numbers at `want`."""
    bits = {"f64": (52, -1022), "f32": (23, -126), "f16": (10, -14), "bf16": (7, -126)}[dtype]
    exponent = np.frexp(np.where(np.isfinite(want), want, 1.0))[1] - 1
    return np.exp2(np.maximum(exponent, bits[1]) - bits[0])


def wrong(dtype, got, want, tolerance):
    """The elements that are further off than allowed."""
    g, w = numbers(dtype, got), numbers(dtype, want)
    if g.dtype.kind != "f":
        return np.flatnonzero(g != w)
    same = (g == w) | (np.isnan(g) & np.isnan(w))
    allowed = tolerance.get("ulp", 0) * ulp(dtype, w) + tolerance.get("abs", 0)
    with np.errstate(invalid="ignore"):
        near = np.isfinite(g) & np.isfinite(w) & (np.abs(g - w) <= allowed)
    return np.flatnonzero(~(same | near))


def run(driver, folder, modules, case):
    """None if all is right, else what is wrong."""
    path = case["module"]
    if path not in modules:
        modules[path] = driver.module((folder / path).read_text())
    function = driver.function(modules[path], case["entry"], case.get("shared_bytes", 0))
    held = []

    def memory(size):
        held.append(driver.alloc(size))
        return held[-1]

    addresses = []
    for buffer in case["buffers"]:
        size = buffer["bytes"]
        address = memory(size + 256)
        driver.fill(address, 0xFF, size + 256)
        if buffer.get("file"):
            driver.write(address, (folder / buffer["file"]).read_bytes())
        addresses.append(address)
    blocks = case.get("blocks", case["tiles"])
    stride = case.get("scratch_bytes", 0)
    stride = (stride + 255) // 256 * 256
    scratch = memory(stride * blocks) if stride else 0
    status = memory(4)
    driver.fill(status, 0, 4)
    params = [*addresses, *case["dims"], case["tiles"], scratch, stride, status]
    driver.launch(function, blocks, case["threads"], params, case.get("shared_bytes", 0))
    driver.synchronize()
    problem = None
    found = int.from_bytes(driver.read(status, 4), "little", signed=True)
    if found != case.get("status", 0):
        problem = f"status {found}, expected {case.get('status', 0)}"
    for buffer, address in zip(case["buffers"], addresses):
        if problem or not buffer.get("expected"):
            continue
        want = (folder / buffer["expected"]).read_bytes()
        got = driver.read(address, len(want) + 16)
        if got[len(want) :] != b"\xff" * 16:
            problem = f"{buffer['name']}: written behind its end"
        bad = wrong(buffer["dtype"], got[: len(want)], want, buffer.get("tolerance", {}))
        if len(bad):
            g, w = (numbers(buffer["dtype"], b[: len(want)]) for b in (got, want))
            i = bad[0]
            problem = f"{buffer['name']}: {len(bad)} of {len(w)} wrong; at {i} got {g[i]!r}, want {w[i]!r}"
    for address in held:
        driver.free(address)
    return problem


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    driver = Driver()
    cases = json.loads((args.folder / "cases.json").read_text())
    modules, outcomes = {}, []
    for case in cases:
        try:
            problem = run(driver, args.folder, modules, case)
        except (CudaError, OSError, KeyError) as e:
            problem = f"{type(e).__name__}: {e}"
        outcomes.append({"name": case["name"], "problem": problem})
        if problem:
            print(f"FAILED {case['name']}: {problem}", flush=True)
        if problem and "CUDA_ERROR" in problem and "ILLEGAL" in problem:
            print("the context is broken: the rest did not run")
            break
    failed = sum(o["problem"] is not None for o in outcomes)
    print(f"{driver.name()}: {len(outcomes)} of {len(cases)} kernels ran, {failed} wrong")
    if args.json:
        args.json.write_text(json.dumps({"device": driver.name(), "kernels": outcomes}, indent=1))
    sys.exit(failed > 0 or len(outcomes) < len(cases))


if __name__ == "__main__":
    main()
