#!/usr/bin/env bash
# Builds what tests/gpu/run.sh needs on a machine that has a GPU driver and Python and nothing
# else, into FOLDER:
#
#   tests/gpu/pack.sh FOLDER [TARGET]        TARGET: sm_80, sm_90, sm_90a (default)
#
#   FOLDER/gpu-check           the program that runs the bundles
#   FOLDER/cases               single kernels and what the Kernel IR interpreter gives
#   FOLDER/bench_attention, bench_gemm
#                              kernels, and what checks and times them beside PyTorch's
#   FOLDER/corpus, models*     compiled models and what they must give, packed with xz
#
# Needs tests/setup_env.sh (models) and tests/setup_ptx.sh (LLVM, MLIR).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(realpath -m "${1:?usage: tests/gpu/pack.sh FOLDER [TARGET]}")
target=${2:-sm_90a}
mkdir -p "$folder"

# What one transfer of 50 MB carries of the models, each.
parts=(
    magika,wake,silero,ocr_cls,ocr_det,ocr_rec,minilm_l3_dynamic
    nudenet,nsfw
    piper
    minilm_l3/
    minilm_int8
)

pack() { # pack NAME ARGUMENTS...: a bundle, compressed
    local name=$1
    shift
    cargo run --quiet --locked -p cascata-tests --features ptx --example gpu_pack -- \
        "$folder/$name" --target "$target" "$@"
    xz --threads=0 --force -3 "$folder/$name/bundle.bin"
}

cargo build --quiet --locked --release -p cascata-gpu-check
cp target/release/gpu-check "$folder/gpu-check"
strip "$folder/gpu-check"
cargo run --quiet --locked -p cascata-ptx --features llvm --example gpu_cases -- "$folder/cases"
cargo run --quiet --locked -p cascata-codegen --features ptx --example attention_package -- \
    "$folder/bench_attention"
cargo run --quiet --locked -p cascata-codegen --features ptx --example gemm_package -- \
    "$folder/bench_gemm"
pack corpus --groups onnx,contrib,random
for i in "${!parts[@]}"; do
    pack "models$i" --groups model --only "${parts[$i]}"
done
du -sh "$folder"/*
