//! Symbols, options, and shape arithmetic that becomes dims.

use super::*;

/// `Shape → Gather → Unsqueeze → Concat → Reshape`, as exporters write it.
fn reshape_by_shape() -> Build {
    Build::default()
        .input("x", FLOAT, &["batch", "seq", "12"])
        .i64s("zero", &[], &[0])
        .i64s("one", &[], &[1])
        .i64s("axis", &[1], &[0])
        .i64s("rest", &[2], &[3, -1])
        .node("Shape", "x", "shape")
        .node("Gather", "shape,zero", "b")
        .node("Gather", "shape,one", "s")
        .node("Unsqueeze", "b,axis", "b1")
        .node("Unsqueeze", "s,axis", "s1")
        .node_with("Concat", "b1,s1,rest", "target", vec![int("axis", 0)])
        .node("Reshape", "x,target", "y")
        .output("y")
}

#[test]
fn shape_arithmetic_becomes_dims() {
    let imported = reshape_by_shape().import(17).unwrap();
    assert_eq!(output_types(&imported), ["f32[batch,seq,3,4]"]);
    assert_eq!(op_names(&imported), ["reshape"]);
}

#[test]
fn a_dim_is_a_number_when_an_option_binds_it() {
    let options = ImportOptions::default().dim("batch=3").unwrap().dim("x:1=2..8").unwrap();
    let imported = reshape_by_shape().import_with(17, &options).unwrap();
    assert_eq!(output_types(&imported), ["f32[3,seq,3,4]"]);
    let symbols: Vec<_> =
        imported.graph.symbols.iter().map(|(_, s)| (s.name.as_str(), s.min, s.max)).collect();
    assert_eq!(symbols, [("seq", 2, 8)]);
}

#[test]
fn an_unknown_dim_option_lists_the_symbols() {
    let options = ImportOptions::default().dim("width=3").unwrap();
    let error = reshape_by_shape().import_with(17, &options).unwrap_err().to_string();
    assert!(error.contains("'width=3'") && error.contains("batch, seq"), "{error}");
}

#[test]
fn options_are_checked() {
    for text in ["batch", "batch=x", "batch=4..2", "batch=-1", "batch=1..99999999999"] {
        assert!(ImportOptions::default().dim(text).is_err(), "{text}");
    }
    assert!(ImportOptions::default().value("sr=fast").is_err());
}

#[test]
fn unnamed_dims_get_a_symbol_each_and_names_become_identifiers() {
    let imported = Build::default()
        .input("audio", FLOAT, &["?", "-1"])
        .input("p2o", FLOAT, &["p2o.Dim.0", "a b", "a/b"])
        .output("audio")
        .output("p2o")
        .import(17)
        .unwrap();
    assert_eq!(output_types(&imported), ["f32[audio_0,audio_1]", "f32[p2o.Dim.0,a_b,a_b_2]"]);
}

#[test]
fn int32_round_trips_and_division_are_followed() {
    let imported = Build::default()
        .input("x", FLOAT, &["n", "8"])
        .i64s("two", &[1], &[2])
        .i64s("all", &[1], &[-1])
        .node("Shape", "x", "shape64")
        .node_with("Cast", "shape64", "shape32", vec![int("to", 6)])
        .node_with("Cast", "shape32", "shape", vec![int("to", 7)])
        .node("Div", "shape,two", "halves")
        .node_with("ReduceProd", "halves", "quarter", vec![int("keepdims", 1)])
        .node("ConstantOfShape", "quarter", "zeros")
        .node_with("Concat", "quarter,all", "target", vec![int("axis", 0)])
        .output("zeros")
        .import(13)
        .unwrap();
    assert_eq!(output_types(&imported), ["f32[4*floordiv(n,2)]"]);
}

/// The idiom of `torch.expand`: −1 is replaced, by a comparison that bounds decide.
#[test]
fn comparisons_are_decided_by_ranges() {
    let imported = Build::default()
        .input("x", FLOAT, &["n", "1"])
        .i64s("minus", &[1], &[-1])
        .i64s("ones", &[2], &[1, 1])
        .i64s("want", &[1], &[7])
        .node("Shape", "x", "s")
        .node_with("Concat", "first,want", "target", vec![int("axis", 0)])
        .i64s("zero", &[1], &[0])
        .node("Gather", "s,zero", "first")
        .node("Equal", "target,minus", "is_minus")
        .node("Where", "is_minus,ones,target", "shape")
        .node("Expand", "x,shape", "y")
        .output("y")
        .import(13)
        .unwrap();
    assert_eq!(output_types(&imported), ["f32[n,7]"]);
}

#[test]
fn range_of_a_float_limit_has_a_symbolic_length() {
    let imported = Build::default()
        .input("x", FLOAT, &["n"])
        .f32s("start", &[], &[0.5])
        .f32s("step", &[], &[0.5])
        .node("Shape", "x", "s")
        .i64s("zero", &[], &[0])
        .node("Gather", "s,zero", "n")
        .node_with("Cast", "n", "limit", vec![int("to", 1)])
        .node("Range", "start,limit,step", "y")
        .output("y")
        .import(13)
        .unwrap();
    assert_eq!(output_types(&imported), ["f32[2*n-1]"]);
}

#[test]
fn data_dependent_shapes_are_bound_where_they_arise() {
    let model = Build::default()
        .input("x", FLOAT, &["6"])
        .input("target", INT64, &["2"])
        .node("Reshape", "x,target", "y")
        .output("y");
    let imported = model.clone().import(13).unwrap();
    assert_eq!(op_names(&imported), ["bind_dims", "reshape"]);
    let x = Tensor::vector(vec![0f32, 1., 2., 3., 4., 5.]);
    let y = model.run(13, &[x, Tensor::vector(vec![2i64, -1])]);
    assert_eq!(y[0].dims(), [2, 3]);
}

/// Sliced with an end that only the data gives, counted from the end.
#[test]
fn data_dependent_slices_run() {
    let model = Build::default()
        .input("x", FLOAT, &["n"])
        .input("end", INT64, &["1"])
        .i64s("start", &[1], &[1])
        .node("Slice", "x,start,end", "y")
        .output("y");
    let x = Tensor::vector(vec![0f32, 1., 2., 3., 4.]);
    for (end, want) in
        [(-1i64, vec![1f32, 2., 3.]), (3, vec![1., 2.]), (0, vec![]), (99, vec![1., 2., 3., 4.])]
    {
        let y = model.clone().run(13, &[x.clone(), Tensor::vector(vec![end])]);
        assert_eq!(y[0].as_slice::<f32>(), Some(want.as_slice()), "end {end}");
    }
}

/// A table of 4 positions is sliced to the length and added: longer is never valid.
#[test]
fn a_table_limits_the_range_of_a_length() {
    let imported = Build::default()
        .input("x", FLOAT, &["n", "2"])
        .f32s("table", &[4, 2], &[0.; 8])
        .i64s("zero", &[1], &[0])
        .node("Shape", "x", "s")
        .node("Gather", "s,zero", "n")
        .node("Slice", "table,zero,n", "rows")
        .node("Add", "x,rows", "y")
        .output("y")
        .import(13)
        .unwrap();
    assert_eq!(output_types(&imported), ["f32[n,2]"]);
    let (_, n) = imported.graph.symbols.iter().next().unwrap();
    assert_eq!((n.min, n.max), (1, 4));
}

#[test]
fn ends_beyond_the_tensor_mean_to_the_end() {
    for (end, min) in
        [(i64::MAX, i64::MIN), (1_000_000_000, i64::MIN + 1), (i32::MAX as i64, -5_000_000_000)]
    {
        let imported = Build::default()
            .input("x", FLOAT, &["n", "m"])
            .i64s("from", &[2], &[0, -1])
            .i64s("to", &[2], &[end, min])
            .i64s("axes", &[2], &[0, 1])
            .i64s("steps", &[2], &[1, -1])
            .node("Slice", "x,from,to,axes,steps", "y")
            .output("y")
            .import(13)
            .unwrap();
        assert_eq!(output_types(&imported), ["f32[n,m]"]);
    }
}

#[test]
fn squeeze_of_a_dim_that_may_not_be_one_is_refused_or_checked() {
    let x = || Build::default().input("x", FLOAT, &["n", "3"]);
    let error = x().node("Squeeze", "x", "y").output("y").refused(11);
    assert!(error.contains("whether n is 1") && error.contains("--dim"), "{error}");
    let axes = vec![ints("axes", &[0])];
    let imported = x().node_with("Squeeze", "x", "y", axes).output("y").import(11).unwrap();
    assert_eq!(output_types(&imported), ["f32[3]"]);
    assert!(imported.graph.root().checks.iter().any(|c| c.rhs.is(1)));
}

#[test]
fn same_padding_of_a_symbolic_size_is_an_op() {
    let conv = |stride: i64| {
        Build::default()
            .input("x", FLOAT, &["1", "1", "h"])
            .f32s("w", &[1, 1, 3], &[1., 1., 1.])
            .node_with(
                "Conv",
                "x,w",
                "y",
                vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[stride])],
            )
            .output("y")
    };
    let static_pads = conv(1).import(11).unwrap();
    assert_eq!(op_names(&static_pads), ["const", "conv"]);
    assert_eq!(output_types(&static_pads), ["f32[1,1,h]"]);
    let x = Tensor::new(&[1, 1, 5], vec![1f32, 2., 3., 4., 5.]).unwrap();
    let y = conv(2).run(11, &[x]);
    assert_eq!(y[0].as_slice::<f32>(), Some(&[3f32, 9., 9.][..]));
}
