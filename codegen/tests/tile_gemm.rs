//! Products by tiles: in the Kernel IR interpreter against sums in f64, with tails everywhere, and
//! what is refused. With `CASCATA_PTXAS` set to a `ptxas`, it must accept the PTX, without spilled
//! registers and without products that wait for each other.

use cascata_codegen::gpu::tile_gemm::Product;
use cascata_ir::kernel::interp::{HostBuffer, Outcome, launch_buffers, run};
use cascata_ir::kernel::{
    GemmSchedule, Kernel, LoopKind, Space, Stmt, TileGemm, parse_kernels, print_kernels, verify,
};
use cascata_ir::types::{DType, Dim};

const SCHEDULE: GemmSchedule = GemmSchedule { rows: 64, cols: 32, stages: 3 };

fn numbers(count: usize, mut seed: u64) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a product of f32 and compares every element.
fn product(p: Product, (m, n, k): (usize, usize, usize)) {
    let kernel = p.kernel("product");
    verify(&kernel).unwrap();
    let text = print_kernels(std::slice::from_ref(&kernel));
    assert_eq!(parse_kernels(&text).unwrap(), std::slice::from_ref(&kernel), "{text}");
    let params = [m, n, k].map(|d| d as i64);
    let mut buffers = launch_buffers(&kernel, &params).unwrap();
    let (a, b, bias) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
    let inputs = [&a, &b, &bias].map(|x| HostBuffer::of(x));
    buffers.iter_mut().zip(inputs).take(2 + usize::from(p.bias)).for_each(|(to, x)| *to = x);
    assert_eq!(run(&kernel, &params, &mut buffers).unwrap(), Outcome::Done);
    let c = buffers.last().unwrap().values::<f32>();
    for (at, found) in c.iter().enumerate() {
        let (i, j) = (at / n, at % n);
        let terms = (0..k).map(|t| f64::from(a[i * k + t]) * f64::from(b[j * k + t]));
        let start = if p.bias { f64::from(bias[j]) } else { 0.0 };
        let want = (start + terms.sum::<f64>()) as f32;
        let want = want.max(p.clamp.0).min(p.clamp.1);
        assert!((found - want).abs() <= 1e-6, "[{i},{j}] is {found}, not {want}");
    }
}

#[test]
fn tails_of_every_kind() {
    let plain = Product::plain(DType::F32, SCHEDULE);
    // Two groups of row blocks, the second one lower; odd columns.
    product(Product { group: 2, ..plain }, (161, 77, 5));
    product(plain, (64, 32, 24));
    product(plain, (1, 1, 1));
    let both = Product { bias: true, clamp: (-0.25, 0.5), ..plain };
    product(both, (70, 33, 9));
}

#[test]
fn without_terms_there_is_the_bias() {
    let plain = Product::plain(DType::F32, SCHEDULE);
    product(Product { bias: true, ..plain }, (3, 5, 0));
}

/// A product of one tile, changed.
fn changed(change: impl FnOnce(&mut Kernel)) -> String {
    let mut kernel = Product::plain(DType::BF16, SCHEDULE).kernel("changed");
    change(&mut kernel);
    format!("{:?}", verify(&kernel).unwrap_err())
}

fn gemm(kernel: &mut Kernel) -> &mut TileGemm {
    match &mut kernel.body[0] {
        Stmt::TileGemm(gemm) => gemm,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_product_is_refused() {
    let own = changed(|k| {
        let c = gemm(k).c.buffer;
        k.buffers[c].space = Space::Shared;
    });
    assert!(own.contains("TileOfOwnBuffer"), "{own}");
    let integers = changed(|k| k.buffers.values_mut().for_each(|b| b.dtype = DType::I32));
    assert!(integers.contains("TileFloat"), "{integers}");
    let rows = changed(|k| gemm(k).m = Dim::from(65));
    assert!(rows.contains("m is tile_rows at most"), "{rows}");
    let columns = changed(|k| gemm(k).n = Dim::from(33));
    assert!(columns.contains("n is tile_cols at most"), "{columns}");
    let mixed = changed(|k| {
        let b = gemm(k).b.buffer;
        k.buffers[b].dtype = DType::F16;
    });
    assert!(mixed.contains("the right operand"), "{mixed}");
    let parallel = changed(|k| {
        let t = k.symbols.fresh("t", 0, 31);
        let body = std::mem::take(&mut k.body);
        k.body = vec![Stmt::loop_of(LoopKind::Threads, t, 32, body)];
    });
    assert!(parallel.contains("TileInParallelLoop"), "{parallel}");
}

#[test]
fn a_tile_has_no_more_rows_and_columns_than_it_says() {
    for (size, less, says) in [
        ("tile_rows: 64", "tile_rows: 16", "64 rows in a tile of 16"),
        ("tile_cols: 32", "tile_cols: 16", "32 columns in a tile of 16"),
    ] {
        let kernel = Product::plain(DType::F32, SCHEDULE).kernel("large");
        let text = print_kernels(&[kernel]).replace(size, less);
        let kernel = parse_kernels(&text).unwrap().remove(0);
        let params = [64, 32, 2];
        let mut buffers = launch_buffers(&kernel, &params).unwrap();
        let inputs = [numbers(128, 1), numbers(64, 2)];
        buffers.iter_mut().zip(inputs).for_each(|(to, x)| *to = HostBuffer::of(&x));
        let error = run(&kernel, &params, &mut buffers).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[cfg(feature = "ptx")]
mod ptx {
    use super::*;
    use cascata_ptx::{PtxTarget, compile};

    fn refused(product: Product, target: &'static str) -> String {
        let error = compile(&[product.kernel("p")], PtxTarget { name: target }).unwrap_err();
        error[0].to_string()
    }

    #[test]
    fn sizes_that_have_no_code_are_refused_by_name() {
        let plain = Product::plain(DType::BF16, SCHEDULE);
        let of =
            |rows, cols, stages| Product { schedule: GemmSchedule { rows, cols, stages }, ..plain };
        for odd in [of(32, 64, 4), of(64, 264, 4), of(64, 64, 2), of(256, 256, 4), of(256, 96, 3)] {
            let says = refused(odd, "sm_90a");
            let GemmSchedule { rows, cols, .. } = odd.schedule;
            assert!(says.contains(&format!("{rows} rows and {cols} columns")), "{says}");
        }
        let floats = refused(Product::plain(DType::F32, SCHEDULE), "sm_90a");
        assert!(floats.contains("a product of f32"), "{floats}");
        let old = refused(plain, "sm_90");
        assert!(old.contains("needs sm_90a, not sm_90"), "{old}");
    }

    #[test]
    fn rows_start_at_16_bytes() {
        let odd: [fn(&mut TileGemm); 4] = [
            |g| g.a_row_stride = Dim::from(36),
            |g| g.b_col_stride = Dim::from(36),
            |g| g.a.at = Dim::from(4),
            |g| g.b.at = Dim::from(4),
        ];
        for change in odd {
            let mut kernel = Product::plain(DType::BF16, SCHEDULE).kernel("odd");
            change(gemm(&mut kernel));
            let error = compile(&[kernel], PtxTarget { name: "sm_90a" }).unwrap_err();
            assert!(error[0].to_string().contains("start at 16 bytes"), "{error:?}");
        }
    }
}
