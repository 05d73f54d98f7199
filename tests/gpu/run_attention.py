"""Checks and times the attention kernels of `codegen/examples/attention_package.rs` on a GPU:
`run_attention.py FOLDER`.

Results are compared with attention in float64 (of a forest: float32), times with PyTorch's.
"""

from bench import interleaved, main, say

# Largest differences that are right: weights and results are rounded to the dtype.
BOUND = {"bf16": 0.02, "f16": 0.005}


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
    dt = K.dtype(i["dtype"])
    q = torch.randn(B, Tq, i["heads"], i["dim"], device="cuda").to(dt)
    k, v = (torch.randn(B, Tk, i["kv_heads"], i["dim"], device="cuda").to(dt) for _ in "kv")
    out = torch.full_like(q, poison)
    tiles = B * i["heads"] * -(-Tq // i["rows"])
    return q, k, v, out, K.launcher(name, [q, k, v, out], [B, Tq, Tk], tiles)


def is_wgmma(name):
    return name.endswith("g")


def part_check(K, wgmma):
    torch = K.torch
    torch.manual_seed(0)
    wrong, names = 0, []
    for name, i in K.info.items():
        if i["kind"] not in ("check", "prompt") or is_wgmma(name) != wgmma:
            continue
        shapes = (
            [(2, 77, 77), (1, 130, 201), (1, 300, 37), (1, 1, 513), (2, 1025, 1025)]
            if i["kind"] == "check"
            else [(1, 517, 517)]
        )
        worst = 0.0
        for B, Tq, Tk in shapes:
            q, k, v, out, launch = prompt_run(K, name, B, Tq, Tk)
            launch()
            torch.cuda.synchronize()
            e = (out.float() - reference(torch, q, k, v, i["causal"])).abs().max().item()
            worst = max(worst, e) if e == e else float("inf")
        good = worst < BOUND[i["dtype"]]
        names.append(name)
        wrong += not good
        say(f"check {name:44s} largest error {worst:.5f} {'ok' if good else 'WRONG'}")
    say(f"check: {len(names)} kernels{' by wgmma' if wgmma else ''}, {wrong} wrong")
    return wrong


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
        runs = {}
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
            except RuntimeError as e:  # Not every build of PyTorch has both.
                say(f"{label}: {str(e)[:80]}")
        times = interleaved(torch, runs, 7)
        flash = times.get("torch flash", float("nan"))
        for n, t in sorted(times.items(), key=lambda x: x[1]):
            say(
                f"prompt d{dim} T{T} B{B} {n:36s} {t:8.3f} ms {flops / t / 1e9:7.1f} TFLOP/s "
                f"{flash / t * 100:6.1f} % of flash"
            )
    return 0


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

    def dev(x):
        return torch.tensor(x, dtype=torch.int32, device="cuda")

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
        for launch in launches:
            launch()

    run.parts = launches
    return run, out


def part_forest(K):
    import numpy as np

    torch, wrong = K.torch, 0
    torch.manual_seed(2)
    rng = np.random.default_rng(3)
    tokens, H, D, batch = 16, 16, 128, 256

    def cache(total, kv):
        return [torch.randn(total, kv, tokens, D, device="cuda").bfloat16() for _ in "kv"]

    def shared_of(kv):
        return [n for n in K.info if n.startswith(f"forest_kv{kv}_r128")]

    def own_of(kv):
        return [n for n in K.info if n.startswith(f"forest_kv{kv}_r16")]

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
                good = e < BOUND["bf16"]
                wrong += not good
                say(
                    f"check forest kv{kv} {label:10s} {sn} {on}: largest error {e:.5f} "
                    f"{'ok' if good else 'WRONG'}"
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
        for s, ls in flats.items():
            for on in own_of(kv):
                runs[f"not shared/{s} {on[len('forest_') :]}"] = forest_runs(
                    K, kv, ls, q, kc, vc, shared_of(kv)[0], on
                )[0]
        times = interleaved(torch, runs, 3)
        flat = min(t for n, t in times.items() if n.startswith("not"))
        fast = min((t, n) for n, t in times.items() if not n.startswith("not"))
        pieces = interleaved(torch, dict(enumerate(runs[fast[1]].parts)), 3)
        for n, t in sorted(times.items(), key=lambda x: x[1]):
            say(f"forest kv{kv} {n:44s} {t:8.3f} ms")
        size = 2 * kv * D * 2
        say(
            f"forest kv{kv}: shared {fast[0]:.3f} ms (prefix {pieces[0]:.3f}, own {pieces[1]:.3f} = {batch * 128 * size / pieces[1] / 1e9:.2f} TB/s, merge {pieces[2]:.3f}), not shared {flat:.3f} ms "
            f"({batch * 16512 * size / flat / 1e9:.2f} TB/s of L2 or memory): {flat / fast[0]:.1f} x"
        )
    return wrong


PARTS = {
    "check": lambda k: part_check(k, False),
    "checkg": lambda k: part_check(k, True),
    "d128": lambda k: part_prompt(k, 128),
    "d64": lambda k: part_prompt(k, 64),
    "forest": part_forest,
}

if __name__ == "__main__":
    main(__doc__.splitlines()[0], PARTS, 20)
