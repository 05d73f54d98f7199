#!/usr/bin/env bash
# Sets up what the model tests need: .venv with pinned packages, the models and their ONNX Runtime
# references in the cache (CASCATA_CACHE or .cache). Quiet when there is nothing to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
stamp=.venv/requirements.txt

if [ ! -x "$python" ]; then
    echo "creating .venv"
    python3 -m venv .venv
fi
if ! cmp --silent tests/py/requirements.txt "$stamp"; then
    echo "installing tests/py/requirements.txt"
    "$python" -m pip install --quiet --disable-pip-version-check -r tests/py/requirements.txt
    cp tests/py/requirements.txt "$stamp"
fi
"$python" tests/models/fetch.py
"$python" tests/models/reference.py
