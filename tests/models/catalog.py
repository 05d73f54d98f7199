"""The model list (models.toml) and where its files live."""

import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Model:
    """One entry of models.toml; the fields are described there."""

    id: str
    package: str
    file: str
    sha256: str
    licence: str
    redistributable: bool
    symbols: dict
    inputs: dict
    cases: list

    @property
    def path(self) -> Path:
        """Where fetch.py puts the ONNX file."""
        return cache_dir() / "models" / self.id / "model.onnx"

    def case(self, name: str) -> dict:
        """The case called `name`."""
        for case in self.cases:
            if case["name"] == name:
                return case
        names = ", ".join(case["name"] for case in self.cases)
        raise SystemExit(f"{self.id} has no case {name!r}; it has {names}")

    def refs(self, case: dict) -> Path:
        """The folder that reference.py fills for `case`."""
        return cache_dir() / "refs" / self.id / case["name"]

    def is_fetched(self) -> bool:
        """Whether the right ONNX file is in the cache."""
        return self.path.is_file() and sha256(self.path) == self.sha256


def cache_dir() -> Path:
    """CASCATA_CACHE if it is set, else .cache in the repository root."""
    return Path(os.environ.get("CASCATA_CACHE") or REPO / ".cache")


def load(only: list[str] | None = None) -> list[Model]:
    """All models, or those whose ids are in `only`, in catalog order."""
    text = (Path(__file__).parent / "models.toml").read_text(encoding="utf-8")
    models = [Model(**entry) for entry in tomllib.loads(text)["model"]]
    known = {model.id for model in models}
    unknown = [name for name in only or [] if name not in known]
    if unknown:
        raise SystemExit(f"no model called {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return [model for model in models if not only or model.id in only]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
