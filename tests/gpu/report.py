"""One report of what `tests/gpu/run.sh` left in a folder: `report.py OUT` writes `OUT/report.json`
and `OUT/report.md`."""

import json
import pathlib
import re
import sys

# Lines of a benchmark that the page shows.
SHOWN = re.compile(r"TFLOP/s|TB/s|, \d+ wrong$| x$")


def failures(outcomes):
    return [f"{o['group']}/{o['name']}: {o['problem']}" for o in outcomes if o.get("problem")]


def by_group(outcomes):
    groups = {}
    for o in outcomes:
        group = groups.setdefault(
            o["group"], {"right": 0, "failed": 0, "of_tolerance": 0.0, "from_cpu": 0.0}
        )
        if o.get("problem"):
            group["failed"] += 1
            continue
        group["right"] += 1
        for key in ("of_tolerance", "from_cpu"):
            group[key] = max(group[key], o[key])
    return groups


def single_kernels(outcomes):
    wrong = {o["name"]: o["problem"] for o in outcomes if o["problem"]}
    return {"ran": len(outcomes), "wrong": wrong}


def report(out):
    """Everything that is in the folder."""
    files = {p.stem: json.loads(p.read_text()) for p in sorted(out.glob("*.json"))}
    cases = files.get("kernels")
    outcomes = [
        o for name, file in files.items() if name.startswith(("corpus", "models")) for o in file
    ]
    benches = {name: file["lines"] for name, file in files.items() if "lines" in file}
    return {
        "device": (out / "device.txt").read_text().strip(),
        "date": (out / "date.txt").read_text().strip(),
        "kernels": cases and single_kernels(cases["kernels"]),
        "groups": by_group(outcomes),
        "failures": failures(outcomes),
        "models": {o["name"]: o["times"] for o in outcomes if o.get("times")},
        "benches": {n: [x for x in lines if SHOWN.search(x)] for n, lines in benches.items()},
    }


def page(r):
    """The report as Markdown."""
    lines = [f"# {r['device']}, {r['date']}", "", "Written by `tests/gpu/report.py`.", ""]
    if r["kernels"]:
        ran, wrong = r["kernels"]["ran"], r["kernels"]["wrong"]
        lines += ["## Single kernels", "", f"{ran} ran, {len(wrong)} wrong.", ""]
        lines += [*[f"* {name}: {problem}" for name, problem in wrong.items()], ""]
    if r["groups"]:
        lines += ["## Compiled graphs", ""]
        lines += [
            "| group | right | failed | of the tolerance | from the CPU |",
            "|---|--:|--:|--:|--:|",
        ]
        for name, g in r["groups"].items():
            lines.append(
                f"| {name} | {g['right']} | {g['failed']} | {g['of_tolerance']:.3f} "
                f"| {g['from_cpu']:.1e} |"
            )
        lines += ["", *[f"* {f}" for f in r["failures"]], ""]
    if r["models"]:
        lines += ["## Models", ""]
        lines += [
            "Milliseconds, medians of 30 runs; inputs and outputs travel. `load` compiles the"
        ]
        lines += ["PTX where the driver has not kept it from the run before.", ""]
        lines += ["| model | load | first run | GPU | CPU | threads |", "|---|--:|--:|--:|--:|--:|"]
        for name, t in r["models"].items():
            lines.append(
                f"| {name} | {t['load_ms']:.1f} | {t['first_ms']:.2f} | {t['gpu_ms']:.3f} "
                f"| {t['cpu_ms']:.3f} | {t['cpu_threads']} |"
            )
        lines.append("")
    for name, shown in r["benches"].items():
        lines += [f"## {name}", "", "```", *shown, "```", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def main():
    out = pathlib.Path(sys.argv[1])
    r = report(out)
    (out / "report.json").write_text(json.dumps(r, indent=1) + "\n")
    (out / "report.md").write_text(page(r))


if __name__ == "__main__":
    main()
