//! Data movement, gather and scatter.

use super::*;
use cascata_ir::op::{PadMode, ScatterReduce, SliceRange};
use cascata_ir::types::{Dim, Encoding, PanelEncoding};

fn dims(list: &[i64]) -> Vec<Dim> {
    list.iter().map(|&d| d.into()).collect()
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_f64().unwrap()
}

#[test]
fn reshape_transpose_broadcast() {
    let x = count(&[2, 3]);
    assert_eq!(
        apply1(Op::Reshape { shape: dims(&[3, 1, 2]) }, std::slice::from_ref(&x)),
        count(&[3, 1, 2])
    );
    assert!(
        fails(Op::Reshape { shape: dims(&[4]) }, std::slice::from_ref(&x)).contains("do not fill")
    );
    let y = apply1(Op::Transpose { perm: vec![2, 0, 1] }, &[count(&[2, 3, 2])]);
    assert_eq!(y.dims(), [2, 2, 3]);
    assert_eq!(values(&y), [0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]);
    assert!(
        fails(Op::Transpose { perm: vec![0, 0] }, std::slice::from_ref(&x)).contains("permute")
    );
    let y = apply1(Op::Broadcast { shape: dims(&[2, 2, 3]) }, &[t(&[2, 1], [5.0f32, 6.0])]);
    assert_eq!(values(&y), [5., 5., 5., 6., 6., 6., 5., 5., 5., 6., 6., 6.]);
    assert!(fails(Op::Broadcast { shape: dims(&[3]) }, &[x]).contains("broadcast"));
    let scalar = apply1(Op::Broadcast { shape: dims(&[0, 2]) }, &[t(&[], [1i8])]);
    assert_eq!(scalar.dims(), [0, 2]);
}

#[test]
fn concat_joins_strings_too() {
    let y = apply1(Op::Concat { axis: 1 }, &[count(&[2, 1]), count(&[2, 0]), count(&[2, 2])]);
    assert_eq!(y, t(&[2, 3], [0.0f32, 0., 1., 1., 2., 3.]));
    let text = |v: &[&str]| Tensor::vector(v.iter().map(|s| s.to_string()).collect());
    let y = apply1(Op::Concat { axis: 0 }, &[text(&["a"]), text(&["b", "c"])]);
    assert_eq!(y, text(&["a", "b", "c"]));
    assert!(
        fails(Op::Concat { axis: 0 }, &[count(&[2, 1]), count(&[2, 2])]).contains("do not join")
    );
}

#[test]
fn slice_in_both_directions() {
    let range = |axis, start, len, step| SliceRange {
        axis,
        start: Dim::from(start),
        len: Dim::from(len),
        step,
    };
    let ranges = vec![range(0, 2, 2, -2), range(1, 1, 2, 1)];
    let y = apply1(Op::Slice { ranges }, &[count(&[3, 4])]);
    assert_eq!(y, t(&[2, 2], [9.0f32, 10., 1., 2.]));
    let empty = apply1(Op::Slice { ranges: vec![range(0, 9, 0, 1)] }, &[count(&[3])]);
    assert_eq!(empty.dims(), [0]);
    assert!(
        fails(Op::Slice { ranges: vec![range(0, 1, 3, 1)] }, &[count(&[3])]).contains("index 3")
    );
    assert!(
        fails(Op::Slice { ranges: vec![range(0, 1, 3, -1)] }, &[count(&[3])]).contains("index -1")
    );
}

#[test]
fn pad_modes() {
    let pad = |before: i64, after: i64, mode, inputs: &[Tensor]| {
        values(&apply1(Op::Pad { pads: vec![(before.into(), after.into())], mode }, inputs))
    };
    let x = t(&[3], [1.0f32, 2., 3.]);
    let with = [x.clone(), t(&[], [9.0f32])];
    assert_eq!(pad(2, 1, PadMode::Constant, &with), [9., 9., 1., 2., 3., 9.]);
    let x = [x];
    assert_eq!(pad(2, 2, PadMode::Edge, &x), [1., 1., 1., 2., 3., 3., 3.]);
    assert_eq!(pad(5, 2, PadMode::Reflect, &x), [2., 1., 2., 3., 2., 1., 2., 3., 2., 1.]);
    assert_eq!(pad(4, 2, PadMode::Wrap, &x), [3., 1., 2., 3., 1., 2., 3., 1., 2.]);
    assert_eq!(pad(1, 2, PadMode::Reflect, &[t(&[1], [7.0f32])]), [7.; 4]);
    let pads = vec![(Dim::from(1), Dim::from(0)), (Dim::from(0), Dim::from(1))];
    let y = apply1(
        Op::Pad { pads: pads.clone(), mode: PadMode::Constant },
        &[count(&[1, 2]), t(&[], [-1.0f32])],
    );
    assert_eq!(y, t(&[2, 3], [-1.0f32, -1., -1., 0., 1., -1.]));
    let empty = Op::Pad { pads: vec![(1.into(), 0.into())], mode: PadMode::Edge };
    assert!(fails(empty, &[t::<f32>(&[0], [])]).contains("nothing to pad"));
}

#[test]
fn gather_family() {
    let x = count(&[2, 3]);
    let y = apply1(Op::Gather { axis: 1 }, &[x.clone(), t(&[1, 2], [-1i64, 0])]);
    assert_eq!(y, t(&[2, 1, 2], [2.0f32, 0., 5., 3.]));
    let row = apply1(Op::Gather { axis: 0 }, &[x.clone(), t(&[], [1i32])]);
    assert_eq!(row, t(&[3], [3.0f32, 4., 5.]));
    let error = fails(Op::Gather { axis: 1 }, &[x.clone(), t(&[1], [3i64])]);
    assert_eq!(error, "index 3 is outside of axis 1 of 3 elements");
    assert!(fails(Op::Gather { axis: 1 }, &[x.clone(), t(&[1], [i64::MIN])]).contains("outside"));
    let y = apply1(Op::GatherElements { axis: 1 }, &[x.clone(), t(&[1, 4], [2i64, 0, -2, 2])]);
    assert_eq!(y, t(&[1, 4], [2.0f32, 0., 1., 2.]));
    let y =
        apply1(Op::GatherElements { axis: 0 }, &[x.clone(), t(&[3, 2], [1i64, 0, 0, 1, -1, -2])]);
    assert_eq!(y, t(&[3, 2], [3.0f32, 1., 0., 4., 3., 1.]));
    let y =
        apply1(Op::GatherNd { batch_dims: 0 }, &[x.clone(), t(&[3, 2], [1i64, 2, 0, -1, 1, 0])]);
    assert_eq!(y, t(&[3], [5.0f32, 2., 3.]));
    let y = apply1(Op::GatherNd { batch_dims: 1 }, &[count(&[2, 2, 3]), t(&[2, 1], [1i64, 0])]);
    assert_eq!(y, t(&[2, 3], [3.0f32, 4., 5., 6., 7., 8.]));
    assert!(fails(Op::GatherNd { batch_dims: 0 }, &[x, t(&[1, 1], [2i64])]).contains("axis 0"));
    let empty = apply1(Op::Gather { axis: 0 }, &[t::<f32>(&[0, 3], []), t::<i64>(&[0], [])]);
    assert_eq!(empty.dims(), [0, 3]);
}

#[test]
fn scatter_family() {
    let x = count(&[2, 3]);
    let put = |reduce, inputs: [Tensor; 3]| {
        values(&apply1(Op::ScatterElements { axis: 1, reduce }, &inputs))
    };
    let (index, updates) = (t(&[1, 3], [0i64, -1, 0]), t(&[1, 3], [10.0f32, 20., 30.]));
    let args = [x.clone(), index, updates];
    assert_eq!(put(ScatterReduce::None, args.clone()), [30., 1., 20., 3., 4., 5.]);
    assert_eq!(put(ScatterReduce::Add, args.clone()), [40., 1., 22., 3., 4., 5.]);
    assert_eq!(put(ScatterReduce::Mul, args.clone()), [0., 1., 40., 3., 4., 5.]);
    assert_eq!(put(ScatterReduce::Max, args.clone()), [30., 1., 20., 3., 4., 5.]);
    assert_eq!(put(ScatterReduce::Min, args), [0., 1., 2., 3., 4., 5.]);
    let bytes = [t(&[2], [250u8, 3]), t(&[3], [0i64, 0, 1]), t(&[3], [10u8, 1, 2])];
    let y = apply1(Op::ScatterElements { axis: 0, reduce: ScatterReduce::Add }, &bytes);
    assert_eq!(y, t(&[2], [5u8, 5]));
    let rows = [count(&[3, 2]), t(&[2, 1], [2i64, 0]), t(&[2, 2], [7.0f32, 8., 9., 10.])];
    let y = apply1(Op::ScatterNd { reduce: ScatterReduce::None }, &rows);
    assert_eq!(y, t(&[3, 2], [9.0f32, 10., 2., 3., 7., 8.]));
    let y = apply1(Op::ScatterNd { reduce: ScatterReduce::Add }, &rows);
    assert_eq!(y, t(&[3, 2], [9.0f32, 11., 2., 3., 11., 13.]));
    let bad = [count(&[3]), t(&[1, 1], [3i64]), t(&[1], [7.0f32])];
    assert!(fails(Op::ScatterNd { reduce: ScatterReduce::None }, &bad).contains("index 3"));
}

#[test]
fn packing_keeps_logical_elements() {
    let encoding = Encoding::Panels(PanelEncoding { k: 2, n: 3, k_block: 2, k_group: 1 });
    assert_eq!(apply1(Op::Pack { encoding: encoding.clone() }, &[count(&[2, 3])]).dims(), [2, 3]);
    // A constant stored in panels reads back as the matrices that were packed.
    let panels = PanelEncoding { k: 3, n: 17, k_block: 2, k_group: 2 };
    let at = |m: usize| move |row: u64, col: u64| (m as f32) * 1000.0 + (row * 17 + col) as f32;
    let packed: Vec<f32> = (0..2).flat_map(|m| panels.pack(at(m))).collect();
    let bytes: Vec<u8> = packed.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut ty = TensorType::fixed(DType::F32, &[2, 3, 17]);
    ty.encoding = Encoding::Panels(panels);
    let mut graph = Graph::new("packed");
    let c = graph.add_const(Graph::ROOT, "w", ty, bytes.into());
    graph.add_output("w", c);
    let found = run(&graph, &[]).unwrap().remove(0);
    let expected: Vec<f32> =
        (0..2).flat_map(|m| (0..51).map(move |i| m as f32 * 1000.0 + i as f32)).collect();
    assert_eq!(found, t(&[2, 3, 17], expected));
}

#[test]
fn bytes_and_strings_round_trip() {
    let text = t(&[2], ["grüße".to_string(), String::new()]);
    assert_eq!(Tensor::from_le_bytes(DType::Str, &[2], &text.to_le_bytes()).unwrap(), text);
    assert!(Tensor::from_le_bytes(DType::Str, &[1], &[9, 0, 0, 0, b'x']).is_err());
    let x = t(&[2], [-2i16, 300]);
    assert_eq!(x.to_le_bytes(), [0xfe, 0xff, 0x2c, 0x01]);
    assert_eq!(Tensor::from_le_bytes(DType::I16, &[2], &x.to_le_bytes()).unwrap(), x);
    assert!(Tensor::from_le_bytes(DType::I16, &[2], &[1, 2, 3]).is_err());
    assert!(Tensor::new(&[usize::MAX, usize::MAX, 0], Vec::<f32>::new()).is_err());
}
