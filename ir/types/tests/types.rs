//! Encodings, stored sizes, scalars.

use cascata_types::*;
use std::str::FromStr;

#[test]
fn encodings_round_trip() {
    let panels = PanelEncoding { k: 96, n: 64, k_block: 48, k_group: 2 };
    let mut all =
        vec![Encoding::Dense, Encoding::Panels(panels), Encoding::BlockSparse { rows: 4, cols: 1 }];
    all.extend(QuantFormat::ALL.map(Encoding::Quant));
    for e in all {
        assert_eq!(Encoding::from_str(&e.to_string()), Ok(e));
    }
    for bad in [
        "",
        "panels",
        "panels(1x2)",
        "block(4)",
        "block(4x1",
        "q9",
        "panels(1x2/3)",
        "panels(1x2/99999999999999999999/1)",
    ] {
        assert!(Encoding::from_str(bad).is_err(), "{bad}");
    }
}

#[test]
fn stored_bytes_follow_the_encoding() {
    let with =
        |dims: &[i64], encoding| TensorType { encoding, ..TensorType::fixed(DType::F32, dims) };
    assert_eq!(with(&[3, 5], Encoding::Dense).stored_bytes(), Some(60));
    assert_eq!(with(&[2, 64], Encoding::Quant(QuantFormat::Q8_0)).stored_bytes(), Some(2 * 2 * 34));
    assert_eq!(with(&[2, 256], Encoding::Quant(QuantFormat::Q6K)).stored_bytes(), Some(2 * 210));
    let p = PanelEncoding { k: 10, n: 17, k_block: 4, k_group: 1 };
    // Three blocks of four rows, two panels of sixteen columns, two matrices.
    assert_eq!(with(&[2, 10, 17], Encoding::Panels(p)).stored_bytes(), Some(2 * 12 * 32 * 4));
    assert_eq!(p.elements(), 12 * 32);
    assert_eq!(with(&[i64::MAX, 3], Encoding::Dense).stored_bytes(), None);
    assert_eq!(with(&[-1], Encoding::Dense).stored_bytes(), None);
    // Three blocks of three rows, each padded to two pairs.
    assert_eq!(PanelEncoding { k: 9, n: 17, k_block: 3, k_group: 2 }.elements(), 12 * 32);
    let huge = PanelEncoding { k: u64::MAX, n: u64::MAX, k_block: u64::MAX, k_group: 1 };
    assert_eq!(with(&[1], Encoding::Panels(huge)).stored_bytes(), None);
}

#[test]
fn encodings_refuse_what_they_cannot_hold() {
    let problem = |dtype, dims: &[i64], encoding| {
        TensorType { encoding, ..TensorType::fixed(dtype, dims) }.encoding_problem()
    };
    assert!(problem(DType::F32, &[3, 33], Encoding::Quant(QuantFormat::Q4_0)).is_some());
    assert!(problem(DType::F32, &[], Encoding::Quant(QuantFormat::Q4_0)).is_some());
    assert!(problem(DType::Str, &[32], Encoding::Quant(QuantFormat::Q4_0)).is_some());
    assert!(problem(DType::F32, &[4, 4], Encoding::BlockSparse { rows: 0, cols: 1 }).is_some());
    let panels = |k_block| Encoding::Panels(PanelEncoding { k: 4, n: 6, k_block, k_group: 1 });
    assert!(problem(DType::F32, &[2, 4, 6], panels(4)).is_none());
    assert!(problem(DType::F32, &[5, 6], panels(4)).is_some());
    assert!(problem(DType::F32, &[4, 6], panels(0)).is_some());
    let ungrouped = PanelEncoding { k: 4, n: 6, k_block: 4, k_group: 0 };
    assert!(problem(DType::F32, &[4, 6], Encoding::Panels(ungrouped)).is_some());
}

#[test]
fn packed_elements_lie_where_offset_says() {
    for (k_block, k_group) in [(2, 1), (4, 2), (3, 2), (5, 2)] {
        let p = PanelEncoding { k: 5, n: 19, k_block, k_group };
        let packed = p.pack(|r, c| r * 100 + c + 1);
        assert_eq!(packed.len() as u64, p.elements());
        for r in 0..5 {
            for c in 0..19 {
                assert_eq!(packed[p.offset(r, c) as usize], r * 100 + c + 1);
            }
        }
        assert_eq!(packed.iter().filter(|x| **x != 0).count(), 5 * 19);
    }
    let pairs = PanelEncoding { k: 3, n: 1, k_block: 3, k_group: 2 };
    assert_eq!([0, 1, 2].map(|row| pairs.offset(row, 0)), [0, 1, 32]);
}

#[test]
fn scalars_keep_their_bits() {
    assert_eq!(Scalar::from_i64(DType::I8, -1).to_i64(), -1);
    assert_eq!(Scalar::from_i64(DType::U8, -1).to_i64(), 255);
    assert_eq!(Scalar::from_f64(DType::I32, 1e20).to_i64(), i64::from(i32::MAX));
    assert_eq!(Scalar::from_f64(DType::I8, -1e20).to_i64(), -128);
    assert_eq!(Scalar::from_f64(DType::U8, -3.0).to_i64(), 0);
    assert_eq!(Scalar::from_f64(DType::U8, 300.0).to_i64(), 255);
    assert_eq!(Scalar::from_f64(DType::I64, f64::NAN).to_i64(), 0);
    assert_eq!(Scalar::f32(-0.0).bits, 0x8000_0000);
}
