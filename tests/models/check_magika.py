"""Checks examples/magika/README.md against the magika package itself.

The functions here follow the README and share no code with the package. They are compared on
generated files (token for token) and on examples/magika/samples (label and score), and with
samples/expected.json. With --write, expected.json is written from them.

Needs, besides tests/py/requirements.txt: pip install magika==1.0.3
"""

import argparse
import io
import json
import random

import numpy as np
import onnxruntime
from magika import Magika
from magika.types.seekable import Seekable

import catalog

FOLDER = catalog.REPO / "examples" / "magika"
CONFIG = json.loads((FOLDER / "config.min.json").read_text(encoding="utf-8"))
KNOWLEDGE = json.loads((FOLDER / "content_types_kb.min.json").read_text(encoding="utf-8"))
WHITESPACE = bytes([0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20])
SHORTEST = CONFIG["min_file_size_for_dl"]


def features(content: bytes) -> list[int]:
    """The 2048 tokens of a file."""
    block, pad = min(len(content), CONFIG["block_size"]), CONFIG["padding_token"]
    head = list(content[:block].lstrip(WHITESPACE)[: CONFIG["beg_size"]])
    tail = list(content[len(content) - block :].rstrip(WHITESPACE)[-CONFIG["end_size"] :])
    return head + [pad] * (CONFIG["beg_size"] - len(head)) + [pad] * (CONFIG["end_size"] - len(tail)) + tail


def few_bytes(content: bytes) -> str:
    """The label of a file that is too short for the network."""
    try:
        content[: CONFIG["block_size"]].decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    return "txt"


def answer(label: str, score: float) -> str:
    """The final label for the network's label and score."""
    candidate = CONFIG["overwrite_map"].get(label, label)
    if score >= CONFIG["thresholds"].get(label, CONFIG["medium_confidence_threshold"]):
        return candidate
    return "txt" if KNOWLEDGE[candidate]["is_text"] else "unknown"


def identify(session: onnxruntime.InferenceSession, content: bytes) -> dict:
    """The model's label and score, and the answer."""
    tokens = features(content)
    if not content:
        return {"model_label": None, "model_score": None, "answer": "empty"}
    if len(content) < SHORTEST or tokens[SHORTEST - 1] == CONFIG["padding_token"]:
        return {"model_label": None, "model_score": None, "answer": few_bytes(content)}
    row = session.run(["target_label"], {"bytes": np.array([tokens], np.int32)})[0][0]
    best = int(np.argmax(row))
    label, score = CONFIG["target_labels_space"][best], float(row[best])
    return {"model_label": label, "model_score": score, "answer": answer(label, score)}


def package_features(content: bytes) -> list[int]:
    """The tokens that the package makes."""
    sizes = [CONFIG[name] for name in ("beg_size", "mid_size", "end_size", "padding_token", "block_size")]
    made = Magika._extract_features_from_seekable(Seekable(io.BytesIO(content)), *sizes, CONFIG["use_inputs_at_offsets"])
    return made.beg + made.mid + made.end


def package_identify(package: Magika, content: bytes) -> dict:
    """The package's answer in our form."""
    found = package.identify_bytes(content).prediction
    asked = found.dl.label != "undefined"
    return {
        "model_label": str(found.dl.label) if asked else None,
        "model_score": found.score if asked else None,
        "answer": str(found.output.label),
    }


def generated() -> list[bytes]:
    """Files of awkward sizes: around every limit, with and without whitespace at the ends."""
    rng = random.Random(1)
    sizes = [0, 1, 7, 8, 9, 1023, 1024, 1025, 2048, 4095, 4096, 4097, 5000, 8191, 8192, 9001]
    ends = [b"", b" \n", WHITESPACE * 3, b"\x1c\x85\xa0 ", b" " * 1030, b"\n" * 4093, b"\t" * 5000, b"\x00 \x00"]
    alphabets = [bytes(range(256)), b"ab \n", b" \t", "käse ".encode()]
    bodies = [bytes(rng.choice(alphabet) for _ in range(size)) for size in sizes for alphabet in alphabets]
    return [rng.choice(ends) + body + rng.choice(ends) for body in bodies for _ in range(4)] + bodies


def check(condition: bool, message: str) -> None:
    """Stops with a message unless the condition holds."""
    if not condition:
        raise SystemExit(f"check failed: {message}")


def compare_generated(session, package: Magika) -> int:
    """Tokens and answers of the generated files; returns how many files."""
    files = generated()
    for number, content in enumerate(files):
        check(features(content) == package_features(content), f"tokens of generated file {number}")
        check(identify(session, content) == package_identify(package, content), f"answer for generated file {number}")
    return len(files)


def compare_samples(session, package: Magika) -> dict:
    """Answers for the samples; returns them by file name."""
    found = {}
    for path in sorted(FOLDER.glob("samples/*")):
        if path.name != "expected.json":
            found[path.name] = identify(session, path.read_bytes())
            check(found[path.name] == package_identify(package, path.read_bytes()), f"answer for {path.name}")
    return found


def answers(entries: dict) -> dict[str, str]:
    """The answers alone: scores differ a little from machine to machine."""
    return {name: entry["answer"] for name, entry in entries.items()}


def main() -> None:
    """Runs the comparison; with --write also writes expected.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write samples/expected.json")
    write = parser.parse_args().write
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    package = Magika()
    count = compare_generated(session, package)
    samples = compare_samples(session, package)
    expected = FOLDER / "samples" / "expected.json"
    if write:
        expected.write_text(json.dumps(samples, indent=2) + "\n", encoding="utf-8")
    wanted = json.loads(expected.read_text(encoding="utf-8"))
    check(answers(wanted) == answers(samples), "expected.json")
    print(f"{count} generated files and {len(samples)} samples agree with the magika package")


if __name__ == "__main__":
    main()
