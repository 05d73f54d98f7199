#!/usr/bin/env bash
# The device's part: everything in FOLDER (made by tests/gpu/pack.sh, whole or in parts) on the
# GPU of this machine, reports into OUT. Needs a driver, Python with NumPy; the peers' figures
# need PyTorch, too.
#
#   tests/gpu/run.sh FOLDER OUT [SECONDS]
#
# Each part has its own log and limit; a part that is missing or fails does not stop the others.
set -uo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
folder=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
limit=${3:-300}
export PYTHONUNBUFFERED=1
failed=()

part() { # part NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    echo "==> $name"
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || failed+=("$name")
    tail -n "${LINES_SHOWN:-12}" "$out/$name.log"
    echo "<== $name: $((SECONDS - start)) s"
}

unpack() { # unpack FOLDER: xz is not everywhere, Python is
    [ -e "$1/bundle.bin" ] || python3 -c '
import lzma, shutil, sys
with lzma.open(sys.argv[1] + ".xz") as f, open(sys.argv[1], "wb") as g:
    shutil.copyfileobj(f, g, 1 << 24)' "$1/bundle.bin"
}

workers() { # workers BUNDLE: what is timed runs alone
    echo "--budget-s $((limit - 15))"
    case $1 in models*) ;; *) echo "--workers 8" ;; esac
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
date --utc +%Y-%m-%d > "$out/date.txt"
chmod +x "$folder"/gpu-check 2> /dev/null
[ -e "$folder/cases" ] && part kernels python3 "$here/run_cases.py" "$folder/cases" --json "$out/kernels.json"
for bundle in "$folder"/corpus "$folder"/models*; do
    [ -e "$bundle" ] || continue
    name=$(basename "$bundle")
    unpack "$bundle" && part "$name" "$folder/gpu-check" "$bundle" --json "$out/$name.json" $(workers "$name")
done
for name in attention gemm; do
    [ -e "$folder/bench_$name" ] || continue
    part "$name" python3 "$here/run_$name.py" "$folder/bench_$name" --json "$out/$name.json"
done
python3 "$here/report.py" "$out"
[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
[ ${#failed[@]} -eq 0 ]
