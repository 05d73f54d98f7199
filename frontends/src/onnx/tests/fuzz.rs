//! Seeded mutations of small models: never a panic, and what is imported verifies.

use super::*;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// Models, and what they are imported with.
fn seeds() -> Vec<(Vec<u8>, ImportOptions)> {
    let shapes = Build::default()
        .input("x", FLOAT, &["n", "4", "6"])
        .i64s("i", &[1], &[0])
        .i64s("ends", &[1], &[3])
        .i64s("rest", &[2], &[2, -1])
        .f32s("w", &[6, 2], &[0.5; 12])
        .node("Shape", "x", "s")
        .node("Gather", "s,i", "n")
        .node_with("Concat", "n,rest", "t", vec![int("axis", 0)])
        .node("Reshape", "x,t", "r")
        .node("Slice", "x,i,ends,i", "c")
        .node("MatMul", "c,w", "m")
        .node_with("Softmax", "m", "p", vec![int("axis", -1)])
        .node("ConstantOfShape", "s", "z")
        .output("r")
        .output("p")
        .output("z");
    let conv = Build::default()
        .input("x", FLOAT, &["1", "2", "h", "w"])
        .f32s("k", &[2, 2, 3, 3], &[0.1; 36])
        .node_with("Conv", "x,k", "c", vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])])
        .node_with("MaxPool", "c", "q", vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)])
        .node_with("Transpose", "q", "y", vec![ints("perm", &[0, 2, 3, 1])])
        .output("y");
    let branch = Build::default()
        .input("c", BOOL, &[])
        .input("x", FLOAT, &["n"])
        .node_with(
            "If",
            "c",
            "y",
            vec![
                body("then_branch", Build::default().node("Neg", "x", "a").output("a")),
                body(
                    "else_branch",
                    Build::default()
                        .node_with("CumSum", "x,k", "b", vec![])
                        .i64s("k", &[], &[0])
                        .output("b"),
                ),
            ],
        )
        .output("y");
    let plain = [shapes, conv, branch].map(|b| (b, ImportOptions::default()));
    let lengths = ImportOptions::default().length("xs=3").unwrap();
    let models = plain.into_iter().chain([(sequences(), lengths)]);
    models.map(|(b, options)| (b.model(17).encode_to_vec(), options)).collect()
}

/// Sequences as inputs and outputs, mapped, carried and given by branches.
fn sequences() -> Build {
    let negated = Build::default().input("e", FLOAT, &["?"]).node("Neg", "e", "f").output("f");
    let mut step = Build::default().input("i", INT64, &[]).input("go", BOOL, &[]);
    step.0.input.push(ValueInfoProto { name: Some("s".into()), ..Default::default() });
    let step = step
        .node("SequenceAt", "xs,i", "a")
        .node("SequenceInsert", "s,a,i", "t")
        .node("Identity", "go", "on")
        .output("on")
        .output("t")
        .output("i");
    let pair = |first: &str| {
        Build::default().node("SequenceConstruct", &format!("{first},w"), "pair").output("pair")
    };
    let branches = vec![body("then_branch", pair("w")), body("else_branch", pair("v"))];
    Build::default()
        .sequence("xs", Some(&["n"]))
        .input("c", BOOL, &[])
        .f32s("w", &[2], &[1., 2.])
        .f32s("v", &[1], &[3.])
        .i64s("trip", &[], &[3])
        .node_with("SequenceMap", "xs", "ys", vec![body("body", negated)])
        .node_with("Loop", "trip,,ys", "zs,numbers", vec![body("body", step)])
        .node_with("If", "c", "us", branches)
        .node("SequenceLength", "zs", "count")
        .output("zs")
        .output("numbers")
        .output("us")
        .output("count")
}

/// One to three flips, cuts and insertions.
fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.next(3) {
        let at = random.next(bytes.len());
        match random.next(5) {
            0 => bytes.truncate(at.max(1)),
            1 if bytes.len() > 1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.next(256) as u8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.next(5)],
            _ => bytes[at] ^= 1 << random.next(8),
        }
    }
    bytes
}

#[test]
fn mutated_models_never_panic() {
    let mut random = Random(0x5eed);
    let mut imported = 0;
    for (seed, options) in seeds() {
        let whole = import_bytes(seed.clone().into(), &options);
        assert!(whole.is_ok(), "{}", whole.unwrap_err());
        for _ in 0..400 {
            let bytes = mutate(&seed, &mut random);
            if let Ok(import) = import_bytes(bytes.into(), &options) {
                imported += 1;
                let valid = cascata_ir::verify::verify(&import.graph);
                assert!(valid.is_ok(), "{}", valid.unwrap_err()[0]);
            }
        }
    }
    // Mutations that hit data or unused names leave a valid model.
    assert!(imported > 20, "{imported}");
}

/// The same for every operator: mutated backend tests, where `tests/setup_env.sh` has been run.
/// `FUZZ_ROUNDS` says how often each is mutated.
#[test]
fn mutated_backend_models_never_panic() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    let root = std::env::var_os("CASCATA_CACHE").map_or(root, Into::into);
    let folders: Vec<_> = ["onnx_backend", "contrib"]
        .iter()
        .filter_map(|name| std::fs::read_dir(root.join(name)).ok())
        .collect();
    if folders.is_empty() {
        println!("skipped: no <cache>/onnx_backend");
        return;
    }
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(2);
    let mut random = Random(0xbac0);
    let mut models: Vec<_> = folders
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path().join("model.onnx")))
        .collect();
    models.sort();
    for path in models {
        let seed = std::fs::read(&path).unwrap_or_default();
        for _ in 0..if seed.is_empty() { 0 } else { rounds } {
            let bytes = mutate(&seed, &mut random);
            if let Ok(import) = import_bytes(bytes.into(), &ImportOptions::default()) {
                let valid = cascata_ir::verify::verify(&import.graph);
                assert!(valid.is_ok(), "{}: {}", path.display(), valid.unwrap_err()[0]);
            }
        }
    }
}
