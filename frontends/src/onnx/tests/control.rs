//! If, Loop, Scan and functions.

use super::*;
use crate::onnx::proto::FunctionProto;

fn number(x: f32) -> Tensor {
    Tensor::scalar(x)
}

/// Branches of different ranks, chosen by a dim.
fn rank_by_dim() -> Build {
    Build::default()
        .input("x", FLOAT, &["n", "3"])
        .i64s("zero", &[], &[0])
        .i64s("one", &[], &[1])
        .node("Shape", "x", "s")
        .node("Gather", "s,zero", "n")
        .node("Equal", "n,one", "single")
        .node_with(
            "If",
            "single",
            "y",
            vec![
                body(
                    "then_branch",
                    Build::default()
                        .i64s("axis", &[1], &[0])
                        .node("Squeeze", "x,axis", "a")
                        .output("a"),
                ),
                body("else_branch", Build::default().node("Identity", "x", "b").output("b")),
            ],
        )
        .output("y")
}

#[test]
fn a_decided_condition_leaves_one_branch() {
    for (option, ty) in [("n=1", "f32[3]"), ("n=2", "f32[2,3]"), ("n=2..9", "f32[n,3]")] {
        let options = ImportOptions::default().dim(option).unwrap();
        let imported = rank_by_dim().import_with(13, &options).unwrap();
        assert_eq!(output_types(&imported), [ty]);
    }
}

#[test]
fn an_undecided_condition_says_what_to_bind() {
    let error = rank_by_dim().refused(13);
    assert!(error.contains("depends on n: bind it with --dim"), "{error}");
    assert!(error.contains("f32[3]") && error.contains("f32[n,3]"), "{error}");
}

#[test]
fn branches_capture_values_and_run() {
    let model = Build::default()
        .input("c", BOOL, &[])
        .input("x", FLOAT, &[])
        .f32s("w", &[], &[10.])
        .node_with(
            "If",
            "c",
            "y",
            vec![
                body("then_branch", Build::default().node("Add", "x,w", "a").output("a")),
                body("else_branch", Build::default().node("Mul", "x,w", "b").output("b")),
            ],
        )
        .node("Neg", "w", "z")
        .output("y")
        .output("z");
    let run = |c: bool| model.clone().run(13, &[Tensor::scalar(c), number(3.)]);
    assert_eq!(run(true), [number(13.), number(-10.)]);
    assert_eq!(run(false), [number(30.), number(-10.)]);
}

/// `state += i` five times, with the states scanned; trip count and condition optional.
#[test]
fn loops_carry_and_scan() {
    let step = Build::default()
        .input("i", INT64, &[])
        .input("cond_in", BOOL, &[])
        .input("state", INT64, &[])
        .node("Identity", "cond_in", "cond")
        .node("Add", "state,i", "next")
        .output("cond")
        .output("next")
        .output("next");
    let outputs = Build::default()
        .i64s("trip", &[], &[5])
        .i64s("start", &[], &[100])
        .node_with("Loop", "trip,,start", "last,all", vec![body("body", step)])
        .output("last")
        .output("all")
        .run(13, &[]);
    assert_eq!(outputs[0], Tensor::scalar(110i64));
    assert_eq!(outputs[1], Tensor::vector(vec![100i64, 101, 103, 106, 110]));
}

/// `s = concat(s, s)`, five times: the body is imported with a dim of its own.
#[test]
fn carried_values_may_grow() {
    let step = Build::default()
        .input("i", INT64, &[])
        .input("c", BOOL, &[])
        .input("s", FLOAT, &["?"])
        .node("Identity", "c", "c2")
        .node_with("Concat", "s,s", "s2", vec![int("axis", 0)])
        .output("c2")
        .output("s2");
    let model = Build::default()
        .input("trip", INT64, &[])
        .f32s("start", &[1], &[1.])
        .node_with("Loop", "trip,,start", "last", vec![body("body", step)])
        .output("last");
    for (trips, length) in [(0i64, 1), (1, 2), (5, 32)] {
        let outputs = model.clone().run(13, &[Tensor::scalar(trips)]);
        assert_eq!(outputs[0], Tensor::vector(vec![1f32; length]));
    }
}

#[test]
fn rows_of_several_lengths_are_refused() {
    let step = Build::default()
        .input("i", INT64, &[])
        .input("c", BOOL, &[])
        .input("s", FLOAT, &["?"])
        .node("Identity", "c", "c2")
        .node_with("Concat", "s,s", "s2", vec![int("axis", 0)])
        .output("c2")
        .output("s2")
        .output("s2");
    let looped = |model: Build| {
        let model = model.f32s("start", &[1], &[1.]);
        let loops =
            model.node_with("Loop", "trip,,start", "last,all", vec![body("body", step.clone())]);
        loops.output("all").refused(13)
    };
    let open = looped(Build::default().input("trip", INT64, &[]));
    assert!(open.contains("scanned output 0 has a dim that each iteration decides"), "{open}");
    let unrolled = looped(Build::default().i64s("trip", &[], &[5]));
    assert!(unrolled.contains("scanned output 0 has rows of different types"), "{unrolled}");
}

/// A row is `x[i..i + 1]`: its length is known from the declaration only, and checked.
#[test]
fn a_body_declares_the_sizes_of_its_results() {
    let step = |declared: &str| {
        let mut step = Build::default()
            .input("i", INT64, &[])
            .input("c", BOOL, &[])
            .i64s("shape", &[1], &[1])
            .i64s("one", &[1], &[1])
            .node("Identity", "c", "c2")
            .node("Reshape", "i,shape", "from")
            .node("Add", "from,one", "to")
            .node("Slice", "x,from,to", "row")
            .output("c2");
        step.0.output.push(info("row", FLOAT, Some(&[declared])));
        step
    };
    let model = |declared: &str| {
        Build::default()
            .input("x", FLOAT, &["n"])
            .input("trip", INT64, &[])
            .node_with("Loop", "trip,", "rows", vec![body("body", step(declared))])
            .output("rows")
    };
    let x = Tensor::vector(vec![1f32, 2., 3.]);
    let outputs = model("1").run(13, &[x.clone(), Tensor::scalar(3i64)]);
    assert_eq!(outputs[0], x.clone().with_dims(&[3, 1]).unwrap());
    let imported = model("1").import(13).unwrap();
    let beyond = interp::run(&imported.graph, &[x, Tensor::scalar(4i64)]).unwrap_err();
    assert!(beyond.to_string().contains("must equal 1"), "{beyond}");
    assert!(model("?").refused(13).contains("that each iteration decides"));
}

/// The branches give two rows, or as many as there are.
#[test]
fn branches_may_give_other_dims() {
    let model = Build::default()
        .input("c", BOOL, &[])
        .input("x", FLOAT, &["n"])
        .i64s("from", &[1], &[0])
        .i64s("to", &[1], &[2])
        .node_with(
            "If",
            "c",
            "y",
            vec![
                body("then_branch", Build::default().node("Slice", "x,from,to", "a").output("a")),
                body("else_branch", Build::default().node("Neg", "x", "b").output("b")),
            ],
        )
        .node("Neg", "y", "z")
        .output("z");
    let x = Tensor::vector(vec![1f32, 2., 3.]);
    let run = |c: bool| model.clone().run(13, &[Tensor::scalar(c), x.clone()]);
    assert_eq!(run(true), [Tensor::vector(vec![-1f32, -2.])]);
    assert_eq!(run(false), [x]);
}

#[test]
fn scan_sums_rows() {
    let step = Build::default()
        .input("total", FLOAT, &["2"])
        .input("row", FLOAT, &["2"])
        .node("Add", "total,row", "next")
        .node("Identity", "next", "out")
        .output("next")
        .output("out");
    let outputs = Build::default()
        .input("x", FLOAT, &["n", "2"])
        .f32s("zero", &[2], &[0., 0.])
        .node_with(
            "Scan",
            "zero,x",
            "last,all",
            vec![body("body", step), int("num_scan_inputs", 1)],
        )
        .output("last")
        .output("all")
        .run(11, &[Tensor::new(&[3, 2], vec![1f32, 2., 3., 4., 5., 6.]).unwrap()]);
    assert_eq!(outputs[0], Tensor::vector(vec![9f32, 12.]));
    assert_eq!(outputs[1].to_f64().unwrap(), [1., 2., 4., 6., 9., 12.]);
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], body: Build) -> FunctionProto {
    let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    FunctionProto {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: names(inputs),
        output: names(outputs),
        node: body.0.node,
        opset_import: vec![
            OperatorSetIdProto { domain: None, version: Some(13) },
            OperatorSetIdProto { domain: Some("local".into()), version: Some(1) },
        ],
        ..Default::default()
    }
}

fn with_functions(build: Build, functions: Vec<FunctionProto>) -> ModelProto {
    let mut model = build.model(13);
    model.opset_import.push(OperatorSetIdProto { domain: Some("local".into()), version: Some(1) });
    for node in model.graph.iter_mut().flat_map(|g| &mut g.node) {
        node.domain = Some("local".into());
    }
    model.functions = functions;
    model
}

#[test]
fn functions_are_inlined_with_attributes_and_absent_inputs() {
    let reference = AttributeProto {
        ref_attr_name: Some("slope".into()),
        ..attribute("alpha", AttributeType::Float)
    };
    let leaky = Build::default()
        .node_with("LeakyRelu", "v", "l", vec![reference])
        .node("Clip", "l,low", "out");
    let call = vec![AttributeProto { f: Some(0.5), ..attribute("slope", AttributeType::Float) }];
    let model = with_functions(
        Build::default().input("x", FLOAT, &["2"]).node_with("Leaky", "x", "y", call).output("y"),
        vec![function("Leaky", &["v", "low"], &["out"], leaky)],
    );
    let imported = load(&model, &ImportOptions::default()).unwrap();
    let y = interp::run(&imported.graph, &[Tensor::vector(vec![4f32, -4.])]).unwrap();
    assert_eq!(y[0], Tensor::vector(vec![4f32, -2.]));
}

#[test]
fn recursive_functions_are_refused() {
    let mut own = Build::default().node("Again", "v", "out");
    own.0.node[0].domain = Some("local".into());
    let model = with_functions(
        Build::default().input("x", FLOAT, &["2"]).node("Again", "x", "y").output("y"),
        vec![function("Again", &["v"], &["out"], own)],
    );
    let error = load(&model, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("recursion"), "{error}");
}

/// Each function calls the next one ten times.
#[test]
fn exploding_functions_are_refused() {
    let mut functions = Vec::new();
    for level in 0..12 {
        let mut calls = Build::default();
        for i in 0..10 {
            let (from, to) =
                (if i == 0 { "v".into() } else { format!("t{i}") }, format!("t{}", i + 1));
            let to = if i == 9 { "out".into() } else { to };
            calls = calls.node(&format!("F{}", level + 1), &from, &to);
        }
        calls.0.node.iter_mut().for_each(|n| n.domain = Some("local".into()));
        functions.push(function(&format!("F{level}"), &["v"], &["out"], calls));
    }
    functions.push(function("F12", &["v"], &["out"], Build::default().node("Relu", "v", "out")));
    let model = with_functions(
        Build::default().input("x", FLOAT, &["2"]).node("F0", "x", "y").output("y"),
        functions,
    );
    let error = load(&model, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

/// `If(c) { squeeze(x) } else { x }` for `x: f32[1,3]`, under the name `r`.
fn squeezed_or_not(model: Build) -> Build {
    let squeezed = Build::default().i64s("axis", &[1], &[0]).node("Squeeze", "x,axis", "a");
    let branches = vec![
        body("then_branch", squeezed.output("a")),
        body("else_branch", Build::default().node("Identity", "x", "b").output("b")),
    ];
    model.node_with("If", "c", "r", branches)
}

fn row() -> Build {
    Build::default().input("c", BOOL, &[]).input("x", FLOAT, &["1", "3"])
}

fn row_value() -> Tensor {
    Tensor::new(&[1, 3], vec![1f32, 2., 3.]).unwrap()
}

/// What follows moves into the branches until their ranks agree, by 1, 2, 4… levels; what
/// does not depend on them, or comes later, stays.
#[test]
fn branches_of_different_ranks_meet_later() {
    let model = squeezed_or_not(row())
        .node("Neg", "r", "negative")
        .node("Exp", "x", "outside")
        .i64s("flat", &[1], &[3])
        .node("Reshape", "negative,flat", "y")
        .node("Add", "y,outside", "sum")
        .node("Abs", "sum", "z")
        .output("z");
    let imported = model.clone().import(13).unwrap();
    assert_eq!(output_types(&imported), ["f32[1,3]"]);
    assert_eq!(op_names(&imported), ["exp", "if", "abs"]);
    let wanted: Vec<f32> = [1f32, 2., 3.].iter().map(|x| x.exp() - x).collect();
    for c in [true, false] {
        let outputs = model.clone().run(13, &[Tensor::scalar(c), row_value()]);
        assert_eq!(outputs[0], Tensor::new(&[1, 3], wanted.clone()).unwrap());
    }
}

/// A branch hands out what its own branches do not agree on.
#[test]
fn nested_branches_of_different_ranks_meet_later() {
    let inner = squeezed_or_not(Build::default()).node("Abs", "r", "s").output("s");
    let other = Build::default().node("Neg", "x", "t").output("t");
    let model = row()
        .input("d", BOOL, &[])
        .node_with("If", "d", "u", vec![body("then_branch", inner), body("else_branch", other)])
        .node_with("Flatten", "u", "v", vec![int("axis", 0)])
        .output("v");
    for (c, d, sign) in [(true, true, 1.), (false, true, 1.), (true, false, -1.)] {
        let inputs = [Tensor::scalar(c), row_value(), Tensor::scalar(d)];
        let outputs = model.clone().run(13, &inputs);
        let wanted = [1f32, 2., 3.].map(|x| x * sign).to_vec();
        assert_eq!(outputs[0], Tensor::new(&[1, 3], wanted).unwrap(), "{c} {d}");
    }
}

/// What follows fits one branch only: that the other is taken is an error of the run.
#[test]
fn a_branch_that_nothing_follows_is_checked() {
    let model = rank_by_dim();
    let mut model = Build(GraphProto { output: vec![], ..model.0 });
    model = model.node_with("Transpose", "y", "z", vec![ints("perm", &[0])]).output("z");
    let imported = model.import(13).unwrap();
    assert_eq!(output_types(&imported), ["f32[3]"]);
    let run = |n: usize| {
        let x = Tensor::new(&[n, 3], vec![1f32; n * 3]).unwrap();
        interp::run(&imported.graph, &[x])
    };
    assert_eq!(run(1).unwrap()[0].dims(), [3]);
    assert!(run(2).is_err());
    let checks = &imported.graph.root().checks;
    assert!(checks.iter().any(|c| c.what.contains("else_branch is taken")), "{checks:?}");
}

#[test]
fn a_condition_of_the_data_is_checked_as_well() {
    let model = squeezed_or_not(row())
        .node_with("Transpose", "r", "z", vec![ints("perm", &[1, 0])])
        .output("z");
    let imported = model.import(13).unwrap();
    let run = |c: bool| interp::run(&imported.graph, &[Tensor::scalar(c), row_value()]);
    assert_eq!(run(false).unwrap()[0].dims(), [3, 1]);
    assert!(run(true).unwrap_err().to_string().contains("then_branch is taken"));
}

/// Dtypes may differ, too.
#[test]
fn branches_of_different_dtypes_meet_later() {
    let cast = |to: i32| {
        Build::default().node_with("Cast", "x", "a", vec![int("to", i64::from(to))]).output("a")
    };
    let branches = vec![body("then_branch", cast(INT64)), body("else_branch", cast(FLOAT))];
    let model = row()
        .node_with("If", "c", "r", branches)
        .node_with("Cast", "r", "y", vec![int("to", i64::from(FLOAT))])
        .output("y");
    let x = Tensor::new(&[1, 3], vec![1.5f32, 2., 3.]).unwrap();
    for (c, first) in [(true, 1f32), (false, 1.5)] {
        let outputs = model.clone().run(13, &[Tensor::scalar(c), x.clone()]);
        assert_eq!(outputs[0], Tensor::new(&[1, 3], vec![first, 2., 3.]).unwrap());
    }
}

#[test]
fn ranks_that_never_meet_are_refused() {
    let error = squeezed_or_not(row()).node("Neg", "r", "y").output("y").refused(13);
    assert!(error.contains("f32[3]") && error.contains("f32[1,3]"), "{error}");
    let step =
        squeezed_or_not(Build::default().input("i", INT64, &[]).input("go", BOOL, &[]).input(
            "s",
            FLOAT,
            &["1", "3"],
        ));
    let step = step.node("Identity", "go", "go2").output("go2").output("r");
    let model = row()
        .input("trip", INT64, &[])
        .node_with("Loop", "trip,,x", "last", vec![body("body", step)])
        .output("last");
    let error = model.refused(13);
    assert!(error.contains("f32[3]") && error.contains("f32[1,3]"), "{error}");
}

/// Moving would make one name of two.
#[test]
fn a_name_that_a_branch_uses_otherwise_is_not_moved() {
    let model =
        squeezed_or_not(row()).i64s("axis", &[1], &[3]).node("Reshape", "r,axis", "y").output("y");
    let error = model.refused(13);
    assert!(error.contains("f32[3]") && error.contains("f32[1,3]"), "{error}");
}
