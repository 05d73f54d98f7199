//! Constants, names, versions of operators.

use super::*;
use crate::onnx::{Problem, operators};

fn x3() -> Build {
    Build::default().input("x", FLOAT, &["3"])
}

fn x3_value() -> Tensor {
    Tensor::vector(vec![1f32, -2., 3.])
}

#[test]
fn every_kind_of_constant_is_read() {
    let typed = |dtype: i32, f: fn(&mut TensorProto)| {
        let mut t = TensorProto { data_type: Some(dtype), dims: vec![2], ..Default::default() };
        f(&mut t);
        vec![AttributeProto { t: Some(t), ..attribute("value", AttributeType::Tensor) }]
    };
    let floats =
        AttributeProto { floats: vec![1., 2.], ..attribute("value_floats", AttributeType::Floats) };
    let float = AttributeProto { f: Some(7.), ..attribute("value_float", AttributeType::Float) };
    let outputs = Build::default()
        .node_with("Constant", "", "a", vec![floats])
        .node_with("Constant", "", "b", vec![float])
        .node_with("Constant", "", "c", vec![int("value_int", 4)])
        .node_with("Constant", "", "d", vec![ints("value_ints", &[4, 5])])
        .node_with("Constant", "", "e", typed(FLOAT, |t| t.float_data = vec![1., 2.]))
        .node_with("Constant", "", "f", typed(10, |t| t.int32_data = vec![0x3c00, 0x4000]))
        .node_with("Constant", "", "g", typed(BOOL, |t| t.int32_data = vec![0, 1]))
        .node_with("Constant", "", "h", typed(3, |t| t.int32_data = vec![-1, 2]))
        .node_with("Constant", "", "i", typed(12, |t| t.uint64_data = vec![9, 8]))
        .output("a")
        .output("b")
        .output("c")
        .output("d")
        .output("e")
        .output("f")
        .output("g")
        .output("h")
        .output("i")
        .run(13, &[]);
    let text: Vec<String> =
        outputs.iter().map(|t| format!("{}{:?}{:?}", t.dtype(), t.dims(), t.to_f64())).collect();
    assert_eq!(text[0], "f32[2]Some([1.0, 2.0])");
    assert_eq!(text[1], "f32[]Some([7.0])");
    assert_eq!(outputs[2].as_slice::<i64>(), Some(&[4i64][..]));
    assert_eq!(outputs[3].as_slice::<i64>(), Some(&[4i64, 5][..]));
    assert_eq!(text[4], "f32[2]Some([1.0, 2.0])");
    assert_eq!(text[5], "f16[2]Some([1.0, 2.0])");
    assert_eq!(outputs[6].as_slice::<bool>(), Some(&[false, true][..]));
    assert_eq!(outputs[7].as_slice::<i8>(), Some(&[-1i8, 2][..]));
    assert_eq!(outputs[8].as_slice::<u32>(), Some(&[9u32, 8][..]));
}

#[test]
fn weights_are_views_of_the_file() {
    let model = x3().f32s("w", &[3], &[1., 2., 3.]).node("Add", "x,w", "y").output("y").model(13);
    let bytes = bytes::Bytes::from(model.encode_to_vec());
    let imported = import_bytes(bytes.clone(), &ImportOptions::default()).unwrap();
    let weight = &imported.graph.consts.values().as_slice()[0].data;
    let file = bytes.as_ptr_range();
    assert!(file.contains(&weight.as_ptr()));
}

#[test]
fn outputs_may_be_inputs_constants_or_aliases() {
    let outputs = x3()
        .f32s("w", &[1], &[5.])
        .node("Relu", "x", "y")
        .node("Identity", "y", "z")
        .output("x")
        .output("y")
        .output("z")
        .output("w")
        .run(13, &[x3_value()]);
    let relu = Tensor::vector(vec![1f32, 0., 3.]);
    assert_eq!(outputs, [x3_value(), relu.clone(), relu, Tensor::vector(vec![5f32])]);
}

#[test]
fn names_and_sources_are_kept() {
    let mut model =
        x3().node("Relu", "x", "hidden::0").node("Neg", "hidden::0", "y").output("y").model(13);
    model.graph.as_mut().unwrap().node[0].name = Some("/block/Relu".into());
    let imported = load(&model, &ImportOptions::default()).unwrap();
    let graph = &imported.graph;
    let sources: Vec<&str> =
        graph.root().nodes.iter().map(|n| graph.nodes[*n].source.as_str()).collect();
    assert_eq!(sources, ["/block/Relu", "Neg:y"]);
    let names: Vec<&str> = graph.values.values().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["x", "hidden::0", "y"]);
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let y = x3().node("Neg", "a", "y").node("Relu", "x", "a").output("y").run(13, &[x3_value()]);
    assert_eq!(y[0], Tensor::vector(vec![-1f32, 0., -3.]));
}

/// Before opset 13 softmax ran over everything from the axis on.
#[test]
fn softmax_flattens_before_opset_13() {
    let model = || {
        Build::default()
            .input("x", FLOAT, &["1", "2", "2"])
            .node_with("Softmax", "x", "y", vec![int("axis", 1)])
            .output("y")
    };
    let x = Tensor::new(&[1, 2, 2], vec![0f32; 4]).unwrap();
    assert_eq!(model().run(12, std::slice::from_ref(&x))[0].to_f64().unwrap(), [0.25; 4]);
    assert_eq!(model().run(13, &[x])[0].to_f64().unwrap(), [0.5; 4]);
}

#[test]
fn clip_takes_attributes_inputs_and_absent_inputs() {
    let bound =
        |name: &str, f: f32| AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) };
    let old =
        x3().node_with("Clip", "x", "y", vec![bound("min", -1.), bound("max", 2.)]).output("y");
    assert_eq!(old.run(10, &[x3_value()])[0], Tensor::vector(vec![1f32, -1., 2.]));
    let new = x3().f32s("low", &[], &[0.]).node("Clip", "x,low,", "y").output("y");
    assert_eq!(new.run(13, &[x3_value()])[0], Tensor::vector(vec![1f32, 0., 3.]));
}

#[test]
fn an_input_may_be_fixed() {
    let options = ImportOptions::default().value("sr=16000").unwrap();
    let imported = x3()
        .input("sr", INT64, &[])
        .i64s("rate", &[], &[16000])
        .node("Equal", "sr,rate", "is16")
        .node_with(
            "If",
            "is16",
            "y",
            vec![
                body("then_branch", Build::default().node("Neg", "x", "a").output("a")),
                body("else_branch", Build::default().node("Abs", "x", "b").output("b")),
            ],
        )
        .output("y")
        .import_with(13, &options)
        .unwrap();
    assert_eq!(imported.fixed, ["sr"]);
    assert_eq!(op_names(&imported), ["neg"]);
    assert_eq!(imported.graph.inputs().len(), 1);
}

#[test]
fn wrong_value_options_are_refused() {
    let model = || Build::default().input("n", INT64, &["2"]).output("n");
    for (text, reason) in
        [("m=1", "no such input"), ("n=0.5", "not exact"), ("n=1,2,3", "do not fill")]
    {
        let options = ImportOptions::default().value(text).unwrap();
        let error = model().import_with(13, &options).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn all_problems_are_listed_and_none_twice() {
    let error = x3()
        .node("Frobnicate", "x", "a")
        .node("Relu", "a", "b")
        .node("Unheard", "b", "c")
        .node_with("Transpose", "x", "d", vec![ints("perm", &[3])])
        .node("Mul", "x,c", "y")
        .output("y")
        .import(17)
        .unwrap_err();
    let ImportError::Nodes(problems) = &error else { panic!("{error}") };
    let ops: Vec<&str> = problems.iter().map(|p| p.op.as_str()).collect();
    assert_eq!(ops, ["Frobnicate", "Unheard", "Transpose"]);
    let Problem { node, domain, opset, .. } = &problems[0];
    assert_eq!((node.as_str(), domain.as_str(), *opset), ("Frobnicate:a", "ai.onnx", 17));
    assert!(error.to_string().contains("3 nodes"), "{error}");
}

#[test]
fn a_wrong_output_dtype_is_an_error() {
    let mut model = x3().node("Relu", "x", "y").model(13);
    model.graph.as_mut().unwrap().output.push(info("y", INT64, None));
    let error = load(&model, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("output 'y'"), "{error}");
}

#[test]
fn the_operator_list_is_sorted_and_long() {
    let names = operators();
    assert!(names.len() > 150 && names.is_sorted(), "{}", names.len());
}

#[test]
fn malformed_regions_are_refused() {
    let model = |columns: &str, shape: &[i64]| {
        Build::default()
            .input("x", FLOAT, &["1", "1", "4", "4"])
            .input("rois", FLOAT, &["r", columns])
            .node_with("MaxRoiPool", "x,rois", "y", vec![ints("pooled_shape", shape)])
            .output("y")
    };
    assert_eq!(output_types(&model("5", &[2, 3]).import(22).unwrap()), ["f32[r,1,2,3]"]);
    assert!(model("4", &[2, 3]).refused(22).contains("numbers of a region"));
    for shape in [&[2][..], &[0, 3], &[2, 3, 4]] {
        assert!(model("5", shape).refused(22).contains("pooled_shape"));
    }
}

#[test]
fn old_opsets_are_refused() {
    assert!(x3().output("x").refused(6).contains("older than 7"));
}
