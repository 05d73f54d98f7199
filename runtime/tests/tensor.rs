//! Tensors and views: sizes, alignment, element types.

use cascata_runtime::{DType, Tensor, TensorError, TensorView, TensorViewMut};

#[test]
fn slices_go_in_and_come_out() {
    let t = Tensor::from_slice(&[2, 2], &[1i64, -2, 3, i64::MAX]).unwrap();
    assert_eq!((t.dtype(), t.dims(), t.bytes().len()), (DType::I64, &[2, 2][..], 32));
    assert_eq!(t.as_slice::<i64>().unwrap(), [1, -2, 3, i64::MAX]);
    assert_eq!(
        t.as_slice::<u64>(),
        Err(TensorError::DType { asked: DType::U64, found: DType::I64 })
    );
    assert_eq!(t.bytes().as_ptr() as usize % 64, 0);
    let t = Tensor::from_slice(&[], &[2.5f64]).unwrap();
    assert_eq!(t.view().as_slice::<f64>().unwrap(), [2.5]);
    let t = Tensor::from_slice::<f32>(&[3, 0], &[]).unwrap();
    assert!(t.as_slice::<f32>().unwrap().is_empty());
}

#[test]
fn bools_are_checked() {
    let t = TensorView::new(DType::Bool, &[2], &[0, 2]).unwrap();
    assert!(t.as_slice::<bool>().is_err());
    let t = Tensor::from_slice(&[2], &[true, false]).unwrap();
    assert_eq!((t.as_slice::<bool>().unwrap(), t.bytes()), (&[true, false][..], &[1u8, 0][..]));
    assert!(TensorViewMut::of(&[1], &mut [true]).is_err());
}

#[test]
fn sizes_that_make_no_sense_are_errors() {
    assert!(matches!(
        TensorView::of(&[3], &[1f32]),
        Err(TensorError::Length { expected: 12, found: 4, .. })
    ));
    for dims in [&[-1i64][..], &[i64::MAX, i64::MAX], &[1 << 62]] {
        assert!(
            matches!(Tensor::zeros(DType::F32, dims), Err(TensorError::Dims { .. })),
            "{dims:?}"
        );
    }
    assert!(matches!(Tensor::zeros(DType::Str, &[1]), Err(TensorError::Dims { .. })));
    let huge = Tensor::zeros(DType::U8, &[1 << 60]).unwrap_err();
    assert_eq!(huge.to_string(), "out of memory: 1152921504606846976 bytes for a tensor");
    let bytes = [0u8; 9];
    let odd = usize::from((bytes.as_ptr() as usize).is_multiple_of(2));
    let error = TensorView::new(DType::F32, &[2], &bytes[odd..odd + 8]).unwrap_err();
    assert!(matches!(error, TensorError::Misaligned { align: 4, .. }));
}
