//! Malformed and hostile models: an error that names what and where.

use super::*;

fn relu() -> Build {
    Build::default().input("x", FLOAT, &["3"]).node("Relu", "x", "y").output("y")
}

#[track_caller]
fn refused_with(model: Build, words: &[&str]) {
    let error = model.refused(17);
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_model() {
    let bytes = relu().f32s("w", &[4], &[1.; 4]).model(17).encode_to_vec();
    for len in 0..bytes.len() {
        let cut = bytes[..len].to_vec();
        let _ = import_bytes(cut.into(), &ImportOptions::default());
    }
    assert!(import_bytes(bytes[..20].to_vec().into(), &ImportOptions::default()).is_err());
    assert!(import_bytes(bytes::Bytes::new(), &ImportOptions::default()).is_err());
}

#[test]
fn cycles_are_named() {
    let cyclic = Build::default().node("Relu", "b", "a").node("Neg", "a", "b").output("a");
    refused_with(cyclic, &["graph 'test'", "Relu:a", "cycle"]);
}

#[test]
fn values_defined_twice_are_named() {
    refused_with(relu().node("Neg", "x", "y"), &["'y' is defined twice"]);
    refused_with(relu().input("x", FLOAT, &["3"]), &["input 'x'", "twice"]);
    refused_with(relu().output("y"), &["output 'y'", "twice"]);
}

#[test]
fn undefined_names_are_named() {
    refused_with(relu().node("Neg", "ghost", "z"), &["Neg:z", "'ghost' is not defined"]);
    refused_with(relu().output("ghost"), &["output 'ghost'"]);
}

#[test]
fn wrong_data_lengths_are_named() {
    refused_with(relu().f32s("w", &[4], &[1.; 3]), &["initializer 'w'", "16 bytes", "12"]);
    refused_with(
        relu().f32s("w", &[i64::MAX, i64::MAX], &[1.]),
        &["initializer 'w'", "does not fit"],
    );
    refused_with(relu().f32s("w", &[-1], &[]), &["initializer 'w'", "-1 is negative"]);
    refused_with(relu().f32s("w", &[0, i64::MAX, i64::MAX], &[1.]), &["initializer 'w'"]);
}

#[test]
fn unsupported_types_are_named() {
    for (code, name) in [(14, "COMPLEX64"), (15, "COMPLEX128"), (99, "99")] {
        let mut model = relu();
        model.0.initializer.push(raw_tensor("w", code, &[1], vec![0]));
        refused_with(model, &["initializer 'w'", name]);
    }
    let mut strings = relu();
    strings.0.initializer.push(raw_tensor("w", 8, &[1], vec![0]));
    refused_with(strings, &["initializer 'w'", "string"]);
}

#[test]
fn types_kept_as_bytes_are_not_computed_with() {
    for (code, name) in [(17, "FLOAT8E4M3FN"), (22, "INT4"), (25, "UINT2")] {
        let weight = |dims: &[i64]| {
            let mut model = Build::default();
            model.0.initializer.push(raw_tensor("w", code, dims, vec![0]));
            model
        };
        refused_with(weight(&[1]).node("Relu", "w", "y").output("y"), &["operands of type", name]);
        let moved = weight(&[1]).node_with("Flatten", "w", "v", vec![int("axis", 0)]);
        refused_with(moved.node("Add", "v,v", "y").output("y"), &["operands of type", name]);
        refused_with(weight(&[9]).node("Identity", "w", "y").output("y"), &["initializer 'w'"]);
    }
}

#[test]
fn input_dims_are_checked() {
    for dim in ["-2", "9223372036854775807", "-9223372036854775808"] {
        refused_with(
            Build::default().input("x", FLOAT, &[dim]).output("x"),
            &["input 'x'", "dim 0", dim],
        );
    }
    let many = vec!["1"; 100];
    refused_with(Build::default().input("x", FLOAT, &many).output("x"), &["input 'x'", "100 dims"]);
    let mut shapeless = Build::default();
    shapeless.0.input.push(info("x", FLOAT, None));
    refused_with(shapeless.output("x"), &["input 'x'", "rank must be known"]);
}

#[test]
fn huge_attributes_are_refused_without_allocating() {
    let x = || Build::default().input("x", FLOAT, &["1", "1", "8", "n"]);
    let pool = |name: &str, list: &[i64]| {
        x().node_with("MaxPool", "x", "y", vec![ints("kernel_shape", &[2, 2]), ints(name, list)])
            .output("y")
    };
    refused_with(pool("strides", &[i64::MAX, 1]), &["MaxPool:y", "strides"]);
    refused_with(pool("pads", &[0, 0, i64::MAX, 0]), &["MaxPool:y", "pads"]);
    refused_with(pool("dilations", &[i64::MIN, 1]), &["MaxPool:y", "dilations"]);
    refused_with(pool("strides", &[0, 1]), &["MaxPool:y", "1 or more"]);
    refused_with(pool("strides", &[1]), &["MaxPool:y", "strides"]);
    let tile = x().i64s("r", &[4], &[i64::MAX; 4]).node("Tile", "x,r", "y").output("y");
    let _ = tile.import(17);
    let zeros = Build::default()
        .i64s("s", &[2], &[i64::MAX, i64::MAX])
        .node("ConstantOfShape", "s", "y")
        .output("y");
    let _ = zeros.import(17);
    let range = Build::default()
        .i64s("a", &[], &[i64::MIN + 1])
        .i64s("b", &[], &[i64::MAX])
        .i64s("c", &[], &[1])
        .node("Range", "a,b,c", "y")
        .output("y");
    let _ = range.import(17);
}

#[test]
fn missing_and_mistyped_attributes_are_named() {
    let x = || Build::default().input("x", FLOAT, &["2", "3"]);
    refused_with(x().node("Concat", "x,x", "y").output("y"), &["Concat:y", "axis is missing"]);
    let wrong = x().node_with("Concat", "x,x", "y", vec![string("axis", "0")]).output("y");
    refused_with(wrong, &["Concat:y", "'axis' is of type STRING"]);
    let far = x().node_with("Concat", "x,x", "y", vec![int("axis", i64::MIN)]).output("y");
    refused_with(far, &["Concat:y", "out of range"]);
    refused_with(x().node("Add", "x", "y").output("y"), &["Add:y", "input 1 is missing"]);
    refused_with(x().node("If", "x", "y").output("y"), &["If:y", "then_branch"]);
}

#[test]
fn bodies_nested_too_deeply_are_refused() {
    let mut inner = Build::default().node("Relu", "x", "y").output("y");
    for _ in 0..200 {
        let branches = vec![
            body("then_branch", inner.clone()),
            body("else_branch", Build::default().output("x")),
        ];
        inner = Build::default().node_with("If", "c", "y", branches).output("y");
    }
    inner.0.input = vec![info("c", BOOL, Some(&[])), info("x", FLOAT, Some(&["2"]))];
    refused_with(inner, &["recursion limit"]);
}

/// `(n+1)` squared again and again has 2^30 terms.
#[test]
fn exploding_expressions_are_refused() {
    let mut model = Build::default()
        .input("x", FLOAT, &["n", "m"])
        .i64s("one", &[2], &[1, 3])
        .node("Shape", "x", "s")
        .node("Add", "s,one", "p0");
    for i in 0..30 {
        model = model.node("Mul", &format!("p{i},p{i}"), &format!("p{}", i + 1));
    }
    let _ = model.clone().node("ConstantOfShape", "p30", "y").output("y").import(17);
    let wide = model.node_with("ReduceProd", "p3", "q", vec![int("keepdims", 1)]).node(
        "ConstantOfShape",
        "q",
        "y",
    );
    let _ = wide.output("y").import(17);
}

/// A chain of strided pools nests a division per node.
#[test]
fn deep_expressions_are_refused() {
    let mut model = Build::default().input("x", FLOAT, &["1", "1", "n"]);
    let attributes = vec![ints("kernel_shape", &[2]), ints("strides", &[2]), ints("pads", &[1, 0])];
    let mut from = "x".to_string();
    for i in 0..500 {
        let to = format!("y{i}");
        model = model.node_with("MaxPool", &from, &to, attributes.clone());
        from = to;
    }
    refused_with(model.output(&from), &["too complex"]);
}

#[test]
fn sparse_weights_and_sequences_are_refused_by_name() {
    let mut sparse = relu();
    let values = Some(raw_tensor("pruned", FLOAT, &[1], vec![0; 4]));
    let tensor = crate::onnx::proto::SparseTensorProto { values, indices: None, dims: vec![9] };
    sparse.0.sparse_initializer.push(tensor);
    refused_with(sparse, &["'pruned'", "sparse"]);
    let two = || relu().node("SequenceConstruct", "x,x", "s");
    refused_with(two().node("Relu", "s", "z").output("z"), &["Relu", "a sequence"]);
    refused_with(two().node("SequenceMap", "s", "z").output("z"), &["SequenceMap", "'body'"]);
    for at in [2, -3] {
        let at = two().i64s("at", &[], &[at]).node("SequenceAt", "s,at", "z").output("z");
        refused_with(at, &["position", "sequence of 2"]);
    }
    let at = two().i64s("at", &[], &[-4]).node("SequenceInsert", "s,x,at", "z");
    refused_with(at, &["position -4"]);
}

#[test]
fn a_model_without_a_graph_or_opset_is_refused() {
    let error = load(&ModelProto::default(), &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no graph"), "{error}");
    let mut model = relu().model(17);
    model.opset_import.clear();
    let error = load(&model, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("Relu:y") && error.contains("no opset"), "{error}");
    let mut other = relu();
    other.0.node[0].domain = Some("com.example".into());
    refused_with(other, &["com.example.Relu", "no opset"]);
}
