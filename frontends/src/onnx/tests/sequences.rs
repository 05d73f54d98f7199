//! Sequences and optionals, at the model's border and across the borders of bodies.

use super::*;
use crate::onnx::proto::type_proto::Value as TypeValue;

fn held(
    name: &str,
    value: impl Fn(Option<Box<TypeProto>>) -> TypeValue,
    of: ValueInfoProto,
) -> ValueInfoProto {
    let value = Some(value(of.r#type.map(Box::new)));
    let r#type = Some(TypeProto { value, denotation: None });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

/// The same, of a type that is a sequence of the info's.
fn sequence_of(of: ValueInfoProto) -> ValueInfoProto {
    let name = of.name().to_string();
    held(
        &name,
        |elem_type| TypeValue::SequenceType(Box::new(type_proto::Sequence { elem_type })),
        of,
    )
}

fn optional_of(of: ValueInfoProto) -> ValueInfoProto {
    let name = of.name().to_string();
    held(
        &name,
        |elem_type| TypeValue::OptionalType(Box::new(type_proto::Optional { elem_type })),
        of,
    )
}

impl Build {
    /// An input that is a sequence.
    pub(super) fn sequence(mut self, name: &str, dims: Option<&[&str]>) -> Self {
        self.0.input.push(sequence_of(info(name, FLOAT, dims)));
        self
    }

    fn optional(mut self, name: &str) -> Self {
        self.0.input.push(optional_of(info(name, FLOAT, Some(&["n"]))));
        self
    }

    fn optional_sequence(mut self, name: &str) -> Self {
        self.0.input.push(optional_of(sequence_of(info(name, FLOAT, Some(&["n"])))));
        self
    }

    fn refused_with(self, options: &ImportOptions, words: &[&str]) {
        let error = self.import_with(17, options).expect_err("the model is refused").to_string();
        for word in words {
            assert!(error.contains(word), "'{word}' is not in: {error}");
        }
    }
}

fn length(text: &str) -> ImportOptions {
    ImportOptions::default().length(text).unwrap()
}

fn vector(xs: &[f32]) -> Tensor {
    Tensor::vector(xs.to_vec())
}

/// `name: type` of inputs, then of outputs.
fn signature(import: &Import) -> (Vec<String>, Vec<String>) {
    let graph = &import.graph;
    let ty = |v| graph.ty(v).display(&graph.symbols);
    let input = |v: &_| format!("{}: {}", graph.values[*v].name, ty(*v));
    let outputs = graph.output_names.iter().zip(graph.outputs());
    (
        graph.inputs().iter().map(input).collect(),
        outputs.map(|(name, v)| format!("{name}: {}", ty(*v))).collect(),
    )
}

#[track_caller]
fn runs(build: Build, options: &ImportOptions, inputs: &[Tensor]) -> Vec<Tensor> {
    let imported = build.import_with(17, options).expect("the model is imported");
    cascata_ir::verify::verify(&imported.graph).expect("the graph is valid");
    interp::run(&imported.graph, inputs).expect("the graph runs")
}

// ---- the model's border -------------------------------------------------------

#[test]
fn a_sequence_is_as_many_inputs_and_outputs() {
    let model = Build::default()
        .sequence("xs", Some(&["n", "3"]))
        .sequence("ys", Some(&["n", "?"]))
        .node("Identity", "xs", "zs")
        .output("zs");
    let options = length("xs=2").length("ys=1").unwrap();
    let (inputs, outputs) = signature(&model.clone().import_with(17, &options).unwrap());
    // Elements at one position share a named dim; others are their own.
    assert_eq!(inputs, ["xs.0: f32[n.0,3]", "xs.1: f32[n.1,3]", "ys.0: f32[n.0,ys_1.0]"]);
    assert_eq!(outputs, ["zs.0: f32[n.0,3]", "zs.1: f32[n.1,3]"]);
    let all = options.clone().dim("n=2..5").unwrap().dim("n.1=4").unwrap();
    let imported = model.clone().import_with(17, &all).unwrap();
    assert_eq!(signature(&imported).0[..2], ["xs.0: f32[n.0,3]", "xs.1: f32[4,3]"]);
    let by_axis = options.dim("ys.0:1=7").unwrap().dim("ys:1=2..7").unwrap();
    let imported = model.import_with(17, &by_axis).unwrap();
    assert_eq!(signature(&imported).0[2], "ys.0: f32[n.0,ys_1.0]");
}

#[test]
fn a_sequence_may_be_empty() {
    let model = Build::default()
        .sequence("xs", Some(&["n"]))
        .node("SequenceLength", "xs", "count")
        .output("count")
        .output("xs");
    let imported = model.import_with(17, &length("xs=0")).unwrap();
    assert_eq!(signature(&imported), (vec![], vec!["count: i64[]".to_string()]));
}

#[test]
fn a_length_that_is_not_given_is_asked_for() {
    let none = ImportOptions::default();
    let model = || Build::default().sequence("xs", Some(&["n"])).output("xs");
    model().refused_with(&none, &["input 'xs'", "must be known", "--length xs=NUMBER"]);
    let optional = Build::default().optional_sequence("xs").output("xs");
    optional.refused_with(&none, &["input 'xs'", "--length xs=NUMBER", "--absent xs"]);
    model().refused_with(&length("xs=4097"), &["xs=4097", "at most 4096"]);
    assert!(ImportOptions::default().length("xs=-1").is_err());
    assert!(ImportOptions::default().rank("xs").is_err());
}

#[test]
fn options_that_fit_no_input_are_refused() {
    let model = || Build::default().input("x", FLOAT, &["3"]).output("x");
    model().refused_with(&length("x=1"), &["'x=1'", "no such sequence"]);
    model().refused_with(&length("ghost=1"), &["'ghost=1'", "no such sequence"]);
    let rank = ImportOptions::default().rank("ghost=1").unwrap();
    model().refused_with(&rank, &["'ghost=1'", "no such input"]);
    let rank = ImportOptions::default().rank("x=2").unwrap();
    model().refused_with(&rank, &["'x=2'", "declares rank 1"]);
    model().refused_with(&ImportOptions::default().without("x"), &["'x'", "not optional"]);
    model().refused_with(&ImportOptions::default().without("ghost"), &["'ghost'", "no such"]);
    let both = length("xs=1").without("xs");
    let optional = Build::default().optional_sequence("xs").output("xs");
    optional.refused_with(&both, &["'xs=1'", "no such sequence"]);
}

#[test]
fn names_of_elements_may_not_be_taken() {
    let input = Build::default().sequence("x", Some(&["n"])).input("x.1", FLOAT, &["3"]);
    input.clone().output("x").refused_with(&length("x=2"), &["input 'x'", "'x.1'"]);
    assert!(input.output("x").import_with(17, &length("x=1")).is_ok());
    let output = Build::default()
        .input("a", FLOAT, &["3"])
        .node("SequenceConstruct", "a,a", "y")
        .node("Neg", "a", "y.0")
        .output("y.0");
    output.output("y").refused_with(&ImportOptions::default(), &["output 'y'", "'y.0'", "twice"]);
    let mut param = length("x=2");
    param.params.push("x.1".into());
    let weight = Build::default().sequence("x", Some(&["n"])).f32s("x.1", &[1], &[1.]);
    weight.output("x").refused_with(&param, &["'x.1'", "element of a sequence"]);
}

#[test]
fn ranks_are_told_where_no_shape_is_declared() {
    let model = || Build::default().sequence("xs", None).output("xs");
    model().refused_with(&length("xs=2"), &["rank must be known", "--rank xs=NUMBER"]);
    let options = length("xs=2").rank("xs=1").unwrap().rank("xs.1=0").unwrap();
    let (inputs, _) = signature(&model().import_with(17, &options).unwrap());
    assert_eq!(inputs, ["xs.0: f32[xs_0.0]", "xs.1: f32[]"]);
    model().refused_with(&length("xs=1").rank("xs=1000").unwrap(), &["xs=1000", "at most"]);
    let mut tensor = Build::default().output("x");
    tensor.0.input.push(info("x", FLOAT, None));
    tensor.clone().refused_with(&ImportOptions::default(), &["--rank x=NUMBER"]);
    let two = ImportOptions::default().rank("x=2").unwrap();
    assert_eq!(signature(&tensor.import_with(17, &two).unwrap()).0, ["x: f32[x_0,x_1]"]);
}

#[test]
fn sequences_of_other_things_are_refused() {
    let mut nested = Build::default().output("xs");
    nested.0.input.push(sequence_of(sequence_of(info("xs", FLOAT, Some(&["n"])))));
    nested.refused_with(&length("xs=1"), &["input 'xs'", "each element a sequence"]);
    let list = Build::default()
        .input("x", FLOAT, &["3"])
        .node("SequenceConstruct", "x,x", "s")
        .node("SequenceConstruct", "s,x", "t")
        .output("t");
    list.refused_with(&ImportOptions::default(), &["SequenceConstruct:t", "a sequence of 2 as"]);
    let absent = Build::default().optional("x").node("SequenceConstruct", "x", "s").output("s");
    absent.refused_with(&ImportOptions::default().without("x"), &["an empty optional as"]);
}

#[test]
fn optionals_hold_something_unless_told() {
    let model = || {
        Build::default()
            .optional("x")
            .node("OptionalHasElement", "x", "has")
            .node("Identity", "x", "y")
            .output("has")
            .output("y")
    };
    let present = runs(model(), &ImportOptions::default(), &[vector(&[1., 2.])]);
    assert_eq!(present, [Tensor::scalar(true), vector(&[1., 2.])]);
    // What holds nothing is neither an input nor an output.
    let absent = runs(model(), &ImportOptions::default().without("x"), &[]);
    assert_eq!(absent, [Tensor::scalar(false)]);
    let element = model().node("OptionalGetElement", "x", "z").output("z");
    let without = ImportOptions::default().without("x");
    element.refused_with(&without, &["OptionalGetElement:z", "holds nothing"]);
}

#[test]
fn a_wrong_element_type_of_an_output_is_an_error() {
    let mut model = Build::default().sequence("xs", Some(&["n"]));
    model.0.output.push(sequence_of(info("xs", INT64, None)));
    model.refused_with(&length("xs=1"), &["output 'xs'", "declared as data type 7"]);
}

// ---- If -----------------------------------------------------------------------

fn chosen(then: Build, other: Build) -> Build {
    let branches = vec![body("then_branch", then), body("else_branch", other)];
    Build::default()
        .input("c", BOOL, &[])
        .input("x", FLOAT, &["n"])
        .node_with("If", "c", "r", branches)
}

fn listed(nodes: &[(&str, &str)], elements: &str) -> Build {
    let nodes = nodes.iter().fold(Build::default(), |b, (op, name)| b.node(op, "x", name));
    nodes.node("SequenceConstruct", elements, "list").output("list")
}

#[test]
fn branches_give_sequences_of_one_length() {
    let model = chosen(listed(&[("Neg", "a")], "a,x"), listed(&[("Abs", "b")], "x,b")).output("r");
    for (c, first) in [(true, -1f32), (false, 1.)] {
        let outputs =
            runs(model.clone(), &ImportOptions::default(), &[Tensor::scalar(c), vector(&[1.])]);
        assert_eq!(outputs, [vector(&[first]), vector(&[1.])]);
    }
}

#[test]
fn branches_that_give_sequences_of_other_lengths_meet_later_or_are_refused() {
    let model = || chosen(listed(&[], "x"), listed(&[("Neg", "b")], "x,b"));
    let words = ["a sequence of 1 and a sequence of 2 for output 0", "value option"];
    model().output("r").refused_with(&ImportOptions::default(), &words);
    let length = model().node("SequenceLength", "r", "count").output("count");
    let run = |c: bool| {
        runs(length.clone(), &ImportOptions::default(), &[Tensor::scalar(c), vector(&[1.])])
    };
    assert_eq!((run(true), run(false)), (vec![Tensor::scalar(1i64)], vec![Tensor::scalar(2i64)]));
    let decided = ImportOptions::default().value("c=0").unwrap();
    assert_eq!(signature(&model().output("r").import_with(17, &decided).unwrap()).1.len(), 2);
}

#[test]
fn branches_that_give_other_element_types_are_refused() {
    let cast = Build::default()
        .node_with("Cast", "x", "a", vec![int("to", INT64.into())])
        .node("SequenceConstruct", "a", "list")
        .output("list");
    let model = chosen(listed(&[], "x"), cast).output("r");
    model.refused_with(&ImportOptions::default(), &["f32[n]", "i64[n]", "output 0"]);
}

#[test]
fn branches_give_empty_optionals() {
    let nothing = || Build::default().node("Optional", "", "o").output("o");
    let model = chosen(nothing(), nothing()).node("OptionalHasElement", "r", "has").output("has");
    let outputs = runs(model, &ImportOptions::default(), &[Tensor::scalar(true), vector(&[1.])]);
    assert_eq!(outputs, [Tensor::scalar(false)]);
    let model = chosen(nothing(), listed(&[], "x")).output("r");
    model.refused_with(&ImportOptions::default(), &["an empty optional and a sequence of 1"]);
}

/// What bytes stand for is not known behind the branches.
#[test]
fn sequences_of_bytes_do_not_leave_bodies() {
    let mut weight = Build::default().f32s("axis", &[1], &[0.]);
    weight.0.initializer.push(raw_tensor("w", 17, &[2], vec![0, 1]));
    let split = || Build::default().node("SplitToSequence", "w", "list").output("list");
    let mut model = chosen(split(), split()).output("r");
    model.0.initializer.extend(weight.0.initializer);
    model.refused_with(&ImportOptions::default(), &["FLOAT8E4M3FN"]);
}

// ---- loops --------------------------------------------------------------------

fn step() -> Build {
    Build::default()
        .input("i", INT64, &[])
        .input("go", BOOL, &[])
        .node("Identity", "go", "on")
        .output("on")
}

fn carried(mut body: Build, name: &str) -> Build {
    body.0.input.push(sequence_of(info(name, FLOAT, None)));
    body
}

/// `s` gains `x · i` in each iteration.
fn growing() -> Build {
    let step = carried(step(), "s")
        .node_with("Cast", "i", "number", vec![int("to", FLOAT.into())])
        .node("Mul", "x,number", "part")
        .node("SequenceInsert", "s,part", "t")
        .output("t");
    Build::default()
        .input("x", FLOAT, &["n"])
        .input("trip", INT64, &[])
        .node("SequenceConstruct", "x", "start")
        .node_with("Loop", "trip,,start", "r", vec![body("body", step)])
        .output("r")
}

#[test]
fn a_loop_whose_sequence_grows_is_unrolled() {
    let three = ImportOptions::default().value("trip=3").unwrap();
    let outputs = runs(growing(), &three, &[vector(&[2.])]);
    assert_eq!(outputs, [2f32, 0., 2., 4.].map(|x| vector(&[x])));
    let none = ImportOptions::default().value("trip=0").unwrap();
    assert_eq!(runs(growing(), &none, &[vector(&[2.])]), [vector(&[2.])]);
}

#[test]
fn a_loop_that_cannot_be_unrolled_says_what_it_takes() {
    let words =
        ["Loop:r", "a sequence of 2 where a sequence of 1", "must be known", "value option"];
    growing().refused_with(&ImportOptions::default(), &words);
    let many = ImportOptions::default().value("trip=4097").unwrap();
    growing().refused_with(&many, &["Loop:r", "at most 4096 iterations"]);
}

/// The sequence keeps its length: a loop of the graph, however often it runs.
#[test]
fn a_loop_whose_sequence_keeps_its_length_stays() {
    let step = carried(step(), "s")
        .i64s("zero", &[], &[0])
        .i64s("one", &[], &[1])
        .node("SequenceAt", "s,zero", "a")
        .node("SequenceAt", "s,one", "b")
        .node("Add", "a,b", "sum")
        .node("SequenceConstruct", "b,sum", "t")
        .output("t")
        .output("sum");
    let model = Build::default()
        .input("x", FLOAT, &["2"])
        .input("trip", INT64, &[])
        .node("SequenceConstruct", "x,x", "start")
        .node_with("Loop", "trip,,start", "r,all", vec![body("body", step)])
        .output("r")
        .output("all");
    let imported = model.clone().import(17).unwrap();
    assert_eq!(op_names(&imported).iter().filter(|n| **n == "loop").count(), 1);
    let outputs =
        runs(model, &ImportOptions::default(), &[vector(&[1., 2.]), Tensor::scalar(3i64)]);
    assert_eq!(outputs[..2], [vector(&[3., 6.]), vector(&[5., 10.])]);
    assert_eq!(outputs[2].to_f64().unwrap(), [2., 4., 3., 6., 5., 10.]);
}

#[test]
fn a_tensor_that_gains_axes_is_unrolled() {
    let grow = || {
        let step = step().input("s", FLOAT, &["n"]).i64s("axis", &[1], &[0]);
        step.node("Unsqueeze", "s,axis", "t").output("t")
    };
    let model = Build::default().input("x", FLOAT, &["2"]);
    let known = model.clone().i64s("trip", &[], &[3]);
    let known = known.node_with("Loop", "trip,,x", "r", vec![body("body", grow())]).output("r");
    let outputs = runs(known, &ImportOptions::default(), &[vector(&[1., 2.])]);
    assert_eq!(outputs[0].dims(), [1, 1, 1, 2]);
    let open = model.input("trip", INT64, &[]);
    let open = open.node_with("Loop", "trip,,x", "r", vec![body("body", grow())]).output("r");
    open.refused_with(&ImportOptions::default(), &["changes its rank", "must be known"]);
}

/// `while i < 2`, with rows of the unrolled iterations on top of each other.
#[test]
fn a_known_condition_ends_an_unrolled_loop() {
    let step = |limit: i64| {
        let body = Build::default().input("i", INT64, &[]).input("go", BOOL, &[]);
        carried(body, "s")
            .i64s("limit", &[], &[limit])
            .node("Less", "i,limit", "on")
            .node("SequenceInsert", "s,x", "t")
            .output("on")
            .output("t")
            .output("i")
    };
    let model = |limit: i64| {
        Build::default()
            .input("x", FLOAT, &["n"])
            .node("SequenceEmpty", "", "start")
            .node_with("Loop", ",,start", "r,rows", vec![body("body", step(limit))])
            .node("SequenceLength", "r", "count")
            .output("count")
            .output("rows")
    };
    let outputs = runs(model(2), &ImportOptions::default(), &[vector(&[1.])]);
    assert_eq!(outputs, [Tensor::scalar(3i64), Tensor::vector(vec![0i64, 1, 2])]);
    model(i64::MAX).refused_with(&ImportOptions::default(), &["Loop:r", "does not end"]);
}

#[test]
fn a_condition_of_the_data_is_not_unrolled() {
    let step = carried(Build::default().input("i", INT64, &[]).input("go", BOOL, &[]), "s")
        .node("SequenceInsert", "s,x", "t")
        .node("Identity", "c", "on")
        .output("on")
        .output("t");
    let model = |trips: i64| {
        Build::default()
            .input("x", FLOAT, &["n"])
            .input("c", BOOL, &[])
            .i64s("trip", &[], &[trips])
            .node("SequenceEmpty", "", "start")
            .node_with("Loop", "trip,,start", "r", vec![body("body", step.clone())])
            .output("r")
    };
    let words = ["Loop:r", "condition after iteration 0 must be known"];
    model(2).refused_with(&ImportOptions::default(), &words);
    // Nobody asks after the last one.
    assert!(model(1).import(17).is_ok());
}

#[test]
fn problems_of_an_unrolled_body_are_listed_once() {
    let step = carried(step(), "s").node("Frobnicate", "x", "y").node("SequenceInsert", "s,y", "t");
    let model = Build::default()
        .input("x", FLOAT, &["n"])
        .i64s("trip", &[], &[3])
        .node("SequenceEmpty", "", "start")
        .node_with("Loop", "trip,,start", "r", vec![body("body", step.output("t"))])
        .output("r");
    let ImportError::Nodes(problems) = model.import(17).unwrap_err() else { panic!("no nodes") };
    let ops: Vec<&str> = problems.iter().map(|p| p.op.as_str()).collect();
    assert_eq!(ops, ["Frobnicate"]);
}

/// Loops in loops, 4096 times each.
#[test]
fn exploding_loops_are_refused() {
    let looped = |inner: Build| {
        let model = inner.i64s("trip", &[], &[4096]);
        let step = carried(step(), "s").node("SequenceInsert", "s,x", "t").output("t");
        model.node_with("Loop", "trip,,s", "u", vec![body("body", step)])
    };
    let outer = looped(carried(step(), "s")).node("SequenceEmpty", "", "empty").output("empty");
    let model = Build::default()
        .input("x", FLOAT, &["n"])
        .i64s("times", &[], &[4096])
        .node("SequenceConstruct", "x", "start")
        .node_with("Loop", "times,,start", "r", vec![body("body", outer)])
        .output("r");
    model.refused_with(&ImportOptions::default(), &["more than"]);
}

// ---- SequenceMap, SplitToSequence -----------------------------------------------

fn mapped() -> Build {
    let sum = Build::default()
        .input("a", FLOAT, &["n"])
        .input("b", FLOAT, &["n"])
        .f32s("two", &[], &[2.])
        .node("Add", "a,b", "c")
        .node("Mul", "c,two", "d")
        .output("d")
        .output("b");
    Build::default()
        .sequence("xs", Some(&["n"]))
        .sequence("ys", Some(&["n"]))
        .input("z", FLOAT, &["1"])
        .node_with("SequenceMap", "xs,ys", "p,q", vec![body("body", sum.clone())])
        .node_with("SequenceMap", "p,z", "r", vec![body("body", sum)])
        .output("r")
        .output("q")
}

#[test]
fn sequence_map_runs_its_body_per_element() {
    let options = length("xs=2").length("ys=2").unwrap();
    let inputs =
        [vector(&[1., 2.]), vector(&[3.]), vector(&[0., 1.]), vector(&[1.]), vector(&[1.])];
    let outputs = runs(mapped(), &options, &inputs);
    assert_eq!(outputs[..2], [vector(&[6., 14.]), vector(&[18.])]);
    assert_eq!(outputs[2..], [vector(&[0., 1.]), vector(&[1.])]);
    let none = length("xs=0").length("ys=0").unwrap();
    assert!(runs(mapped(), &none, &[vector(&[1.])]).is_empty());
}

#[test]
fn sequence_map_refuses_what_does_not_fit() {
    let options = length("xs=2").length("ys=3").unwrap();
    mapped().refused_with(&options, &["SequenceMap:p", "a sequence of 3, input 0 of 2"]);
    let of_tensor = |inner: Build| {
        Build::default()
            .input("x", FLOAT, &["2"])
            .node("SequenceConstruct", "x,x", "s")
            .node_with("SequenceMap", "s", "y", vec![body("body", inner)])
            .output("y")
    };
    let unknown = Build::default().input("a", FLOAT, &["2"]).node("Frobnicate", "a", "b");
    of_tensor(unknown.output("b")).refused_with(&ImportOptions::default(), &["Frobnicate:b"]);
    let two = Build::default().input("a", FLOAT, &["2"]).input("b", FLOAT, &["2"]).output("a");
    of_tensor(two).refused_with(&ImportOptions::default(), &["SequenceMap:y", "has 2 inputs"]);
}

#[test]
fn a_tensor_is_split_where_its_size_is_known() {
    let model = |size: &str| {
        Build::default()
            .input("x", FLOAT, &[size])
            .i64s("two", &[], &[2])
            .node_with("SplitToSequence", "x,two", "s", vec![int("axis", 0)])
            .output("s")
    };
    let outputs = runs(model("3"), &ImportOptions::default(), &[vector(&[1., 2., 3.])]);
    assert_eq!(outputs, [vector(&[1., 2.]), vector(&[3.])]);
    model("n").refused_with(&ImportOptions::default(), &["SplitToSequence:s", "with --dim"]);
    model("8194").refused_with(&ImportOptions::default(), &["SplitToSequence:s", "4096"]);
}
