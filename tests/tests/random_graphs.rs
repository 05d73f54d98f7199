//! Random graphs: the interpreter and compiled code agree, and would not if the compiler
//! were wrong.

use cascata_tests::random::{Counts, Differ, Outcome, PLANTS, Rng, generate, plant, soak, wrap};
use std::collections::BTreeMap;

/// Every op of the compiled path; each must occur in this many nodes per thousand graphs.
const OPS: &[(usize, &[&str])] = &[
    (400, &["fill", "reshape", "transpose", "matmul", "slice"]),
    (
        100,
        &[
            "select",
            "cast",
            "broadcast",
            "concat",
            "gather",
            "gather_elements",
            "gather_nd",
            "arg_reduce",
            "cum_sum",
            "softmax",
            "layer_norm",
            "rms_norm",
            "attention",
            "conv_transpose",
            "pad Constant",
            "reduce Sum",
            "conv 1 axes",
            "conv 2 axes",
            "pool max",
            "add",
            "sub",
            "mul",
            "max",
            "min",
            "resize Nearest",
        ],
    ),
    (
        20,
        &[
            "iota",
            "pool average",
            "dim_values",
            "pad Reflect",
            "pad Edge",
            "pad Wrap",
            "resize Linear",
            "resize Cubic",
            "reduce Mean",
            "reduce Max",
            "reduce Min",
            "reduce Prod",
            "conv 3 axes",
            "pool lp",
            "scatter_elements None",
            "scatter_elements Add",
            "scatter_nd None",
            "scatter_nd Add",
            "scatter_elements Mul",
            "scatter_nd Max",
            "div",
            "mod",
            "rem",
            "pow",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "and",
            "or",
            "xor",
            "bit_and",
            "bit_or",
            "bit_xor",
            "shl",
            "shr",
            "atan2",
        ],
    ),
    (
        15,
        &[
            "neg",
            "abs",
            "sign",
            "floor",
            "ceil",
            "round",
            "trunc",
            "sqrt",
            "rsqrt",
            "recip",
            "exp",
            "log",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
            "erf",
            "sigmoid",
            "relu",
            "silu",
            "gelu_erf",
            "gelu_tanh",
            "hard_swish",
            "softplus",
            "mish",
            "not",
            "bit_not",
            "is_nan",
            "is_inf",
        ],
    ),
];

#[test]
fn compiled_code_equals_the_interpreter() {
    let progress = |c: &Counts| {
        if c.graphs().is_multiple_of(100) {
            eprintln!("{} graphs, {} refused, {} wrong", c.graphs(), c.refused, c.mismatches.len());
        }
    };
    let counts = soak(0..1040, 2, &progress).expect("the generator's graphs run");
    let wrong: Vec<&String> = counts.mismatches.iter().map(|(_, what)| what).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    eprintln!("refused by name: {:#?}", counts.refusals);
    // What the compiler refuses proves nothing: it is named, rare, and not counted.
    assert!(counts.same >= 1000, "only {} graphs compared", counts.same);
    let mean = counts.nodes / counts.same;
    assert!(mean >= 10, "{mean} nodes on average");
    let rare = OPS.iter().flat_map(|(n, names)| names.iter().map(move |name| (*n, *name)));
    let rare: Vec<_> = rare
        .map(|(n, name)| (name, n, counts.ops.get(name).copied().unwrap_or(0)))
        .filter(|(_, wanted, found)| found < wanted)
        .collect();
    assert!(rare.is_empty(), "(op, wanted, found): {rare:?}");
}

/// Every planted fault that the interpreter can see in an output is caught in compiled code.
#[test]
fn planted_miscompiles_are_caught() {
    let differ = Differ::new().expect("threads");
    let mut caught: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..200 {
        let case = generate(seed);
        let Some((graph, fault)) = plant(&case, &mut Rng::new(seed)) else { continue };
        let configs = &Differ::configs(seed)[..1];
        match differ.check(&case, &graph, configs).expect("the case runs") {
            Outcome::Differs(_) => *caught.entry(fault).or_default() += 1,
            Outcome::Refused(_) => {}
            Outcome::Same(_) => panic!("seed {seed}: '{fault}' went unnoticed"),
        }
    }
    eprintln!("caught: {caught:?}");
    assert!(caught.values().sum::<usize>() >= 150, "{caught:?}");
    assert!(PLANTS.iter().all(|(name, _)| caught.contains_key(name)), "{caught:?}");
}

/// A part of a graph computes the same inside of branches and loops.
#[test]
fn control_flow_around_a_part_changes_nothing() {
    let differ = Differ::new().expect("threads");
    let (mut same, mut wrong) = (0, Vec::new());
    for seed in 0..240u64 {
        let depth = 1 + seed as usize % 3;
        let Some((case, graph)) = wrap(&generate(seed), &mut Rng::new(seed), depth) else {
            continue;
        };
        let config = Differ::configs(seed)[seed as usize / 3 % 2];
        match differ.check(&case, &graph, &[config]).expect("the case runs") {
            Outcome::Same(_) => same += 1,
            Outcome::Refused(_) => {}
            Outcome::Differs(m) => wrong.push(format!("seed {seed}, depth {depth}: {}", m.what)),
        }
    }
    eprintln!("{same} graphs compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(same >= 150, "only {same} graphs compared");
}
