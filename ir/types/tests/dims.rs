//! The normal form of dims means what the expression means.

use cascata_types::{Dim, EvalError, SymbolId, SymbolTable};
use proptest::prelude::*;

/// An expression as written, before the normal form.
#[derive(Clone, Debug)]
enum Raw {
    Const(i64),
    Sym(u32),
    Add(Box<Raw>, Box<Raw>),
    Sub(Box<Raw>, Box<Raw>),
    Mul(Box<Raw>, Box<Raw>),
    FloorDiv(Box<Raw>, Box<Raw>),
    CeilDiv(Box<Raw>, i64),
    Mod(Box<Raw>, Box<Raw>),
    Max(Box<Raw>, Box<Raw>),
    Min(Box<Raw>, Box<Raw>),
}

fn raw() -> impl Strategy<Value = Raw> {
    let leaf = prop_oneof![(-9i64..10).prop_map(Raw::Const), (0u32..3).prop_map(Raw::Sym)];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| Raw::Add(a.into(), b.into())),
            two.clone().prop_map(|(a, b)| Raw::Sub(a.into(), b.into())),
            two.clone().prop_map(|(a, b)| Raw::Mul(a.into(), b.into())),
            two.clone().prop_map(|(a, b)| Raw::FloorDiv(a.into(), b.into())),
            (inner, 1i64..7).prop_map(|(a, b)| Raw::CeilDiv(a.into(), b)),
            two.clone().prop_map(|(a, b)| Raw::Mod(a.into(), b.into())),
            two.clone().prop_map(|(a, b)| Raw::Max(a.into(), b.into())),
            two.prop_map(|(a, b)| Raw::Min(a.into(), b.into())),
        ]
    })
}

impl Raw {
    fn dim(&self) -> Dim {
        match self {
            Raw::Const(x) => (*x).into(),
            Raw::Sym(i) => Dim::sym(SymbolId(*i)),
            Raw::Add(a, b) => a.dim() + b.dim(),
            Raw::Sub(a, b) => a.dim() - b.dim(),
            Raw::Mul(a, b) => a.dim() * b.dim(),
            Raw::FloorDiv(a, b) => a.dim().floor_div(&b.dim()),
            Raw::CeilDiv(a, b) => a.dim().ceil_div(&(*b).into()),
            Raw::Mod(a, b) => a.dim().modulo(&b.dim()),
            Raw::Max(a, b) => a.dim().maximum(&b.dim()),
            Raw::Min(a, b) => a.dim().minimum(&b.dim()),
        }
    }

    /// The value in wide integers; `None` for a division by zero or a value beyond 2^60.
    fn value(&self, env: [i64; 3]) -> Option<i128> {
        let floor = |a: i128, b: i128| {
            let (q, r) = (a.checked_div(b)?, a.checked_rem(b)?);
            Some(if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q })
        };
        let v = |x: &Raw| x.value(env);
        let x = match self {
            Raw::Const(x) => (*x).into(),
            Raw::Sym(i) => env[*i as usize].into(),
            Raw::Add(a, b) => v(a)? + v(b)?,
            Raw::Sub(a, b) => v(a)? - v(b)?,
            Raw::Mul(a, b) => v(a)? * v(b)?,
            Raw::FloorDiv(a, b) => floor(v(a)?, v(b)?)?,
            Raw::CeilDiv(a, b) => -floor(-v(a)?, (*b).into())?,
            Raw::Mod(a, b) => v(a)? - v(b)? * floor(v(a)?, v(b)?)?,
            Raw::Max(a, b) => v(a)?.max(v(b)?),
            Raw::Min(a, b) => v(a)?.min(v(b)?),
        };
        (x.abs() < 1 << 60).then_some(x)
    }
}

fn table() -> SymbolTable {
    let mut t = SymbolTable::default();
    for (name, min, max) in [("A", 0, 6), ("B", -5, 5), ("C.x", 1, 9)] {
        let id = t.intern(name);
        (t.get_mut(id).min, t.get_mut(id).max) = (min, max);
    }
    t
}

fn eval(dim: &Dim, env: [i64; 3]) -> Result<i64, EvalError> {
    dim.eval(&|s| env.get(s.0 as usize).copied())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    /// Where the expression has a value, so has its normal form, and it is the same.
    #[test]
    fn normal_form_keeps_the_value(e in raw(), a in 0i64..7, b in -5i64..6, c in 1i64..10) {
        let env = [a, b, c];
        if let Some(want) = e.value(env) {
            let dim = e.dim();
            match eval(&dim, env) {
                Ok(got) => prop_assert_eq!(i128::from(got), want, "{:?}", dim),
                // Multiplied out, a term may be larger than the whole.
                Err(EvalError::Overflow) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn bounds_hold(e in raw(), a in 0i64..7, b in -5i64..6, c in 1i64..10) {
        let dim = e.dim();
        if let Ok(got) = eval(&dim, [a, b, c]) {
            let (low, high) = dim.bounds(&table());
            prop_assert!(low <= got && got <= high, "{got} is not in {low}..={high}");
        }
    }

    #[test]
    fn text_round_trips(e in raw()) {
        let (dim, mut t) = (e.dim(), table());
        let text = dim.display(&t);
        prop_assert_eq!(Dim::parse(&text, &mut t), Ok(dim), "{}", text);
        prop_assert_eq!(t.len(), 3);
    }

    #[test]
    fn json_round_trips(e in raw()) {
        let dim = e.dim();
        let json = serde_json::to_string(&dim).expect("a dim is plain data");
        prop_assert_eq!(dim.as_const().is_some(), !json.starts_with('['), "{}", json);
        prop_assert_eq!(serde_json::from_str::<Dim>(&json).expect("what was written"), dim);
    }

    #[test]
    fn substitution_is_evaluation(e in raw(), a in 0i64..7, b in -5i64..6, c in 1i64..10) {
        let dim = e.dim();
        if let Ok(want) = eval(&dim, [a, b, c]) {
            let bound = dim.substitute(&|s| [a, b, c].get(s.0 as usize).map(|x| (*x).into()));
            if want.abs() < 1 << 60 {
                prop_assert_eq!(eval(&bound, [a, b, c]), Ok(want));
            }
        }
    }

    #[test]
    fn hostile_text_never_panics(text in "[-+*(),0-9AB flordivmxbcast]{0,60}") {
        let _ = Dim::parse(&text, &mut table());
    }

    #[test]
    fn extreme_numbers_never_panic(a: i64, b: i64, c: i64, x: i64) {
        let s = Dim::sym(SymbolId(0));
        let p = s.clone() * a + b;
        let q = s.clone() * c + x;
        let dims = [
            p.floor_div(&q), p.modulo(&q), p.ceil_div(&q), p.maximum(&q), p.minimum(&q),
            p.floor_div(&a.into()), p.modulo(&b.into()), p.clone() * q.clone(), p.clone() - q,
            Dim::from(a).floor_div(&b.into()), Dim::from(a).modulo(&b.into()), p * a - b,
        ];
        for d in dims {
            let _ = eval(&d, [x, a, b]);
            let (low, high) = d.bounds(&table());
            prop_assert!(low <= high);
            let text = d.display(&table());
            prop_assert_eq!(Dim::parse(&text, &mut table()), Ok(d), "{}", text);
        }
    }
}

#[test]
fn division_rounds_down_and_modulo_takes_the_divisors_sign() {
    for (a, b, q, r) in
        [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (6, -3, -2, 0)]
    {
        assert_eq!(Dim::from(a).floor_div(&b.into()), q.into(), "{a}/{b}");
        assert_eq!(Dim::from(a).modulo(&b.into()), r.into(), "{a} mod {b}");
    }
    for (a, b, q) in [(7, 2, 4), (-7, 2, -3), (6, 3, 2), (0, 5, 0)] {
        assert_eq!(Dim::from(a).ceil_div(&b.into()), q.into(), "ceil {a}/{b}");
    }
}

#[test]
fn extremes_saturate_and_division_by_zero_is_an_error() {
    let s = Dim::sym(SymbolId(0));
    assert_eq!(Dim::from(i64::MIN), Dim::from(-i64::MAX));
    assert_eq!(Dim::from(i64::MAX) + 1, Dim::from(i64::MAX));
    assert_eq!(Dim::from(i64::MIN) * -1, Dim::from(i64::MAX));
    assert_eq!(eval(&s.floor_div(&(s.clone() - 3)), [3, 0, 0]), Err(EvalError::DivisionByZero));
    assert_eq!(eval(&s.modulo(&(s.clone() - 3)), [3, 0, 0]), Err(EvalError::DivisionByZero));
    let quotient = s.floor_div(&Dim::sym(SymbolId(1)));
    assert_eq!(eval(&quotient, [i64::MIN, -1, 0]), Err(EvalError::Overflow));
    assert_eq!(eval(&(s.clone() * s.clone()), [i64::MAX, 0, 0]), Err(EvalError::Overflow));
    assert_eq!(eval(&s, [1, 0, 0]), Ok(1));
    assert_eq!(Dim::sym(SymbolId(7)).eval(&|_| None), Err(EvalError::Unbound(SymbolId(7))));
}

#[test]
fn hostile_json_is_a_dim_in_normal_form_or_an_error() {
    let read = serde_json::from_str::<Dim>;
    assert_eq!(read("[[[],2],[[],3]]").expect("two constants"), 5.into());
    assert_eq!(read("[[[[{\"sym\":0},1]],0]]").expect("a zero term"), 0.into());
    for text in ["1.5", "\"N\"", "null", "18446744073709551615", "[[[],1.5]]", "[1]"] {
        assert!(read(text).is_err(), "{text}");
    }
    let huge = read("[[[[{\"sym\":0},4294967295]],1]]").expect("a power");
    assert_eq!(eval(&huge, [2, 0, 0]), Err(EvalError::Overflow));
    assert_eq!(eval(&huge, [1, 0, 0]), Ok(1));
}

#[test]
fn equal_sizes_are_equal_dims() {
    let h = Dim::sym(SymbolId(0));
    // A stride-2 convolution with padding and a ceil-mode pooling halve alike.
    assert_eq!((h.clone() - 1).floor_div(&2.into()) + 1, h.ceil_div(&2.into()));
    assert_eq!((h.clone() * 4 + 2).floor_div(&2.into()), h.clone() * 2 + 1);
    assert_eq!((h.clone() * 4 + 3).modulo(&4.into()), 3.into());
    assert_eq!((h.clone() * 6).floor_div(&(h.clone() * 2)), 3.into());
}

#[test]
fn broadcast_is_associative_and_idempotent() {
    let [a, b, c] = [0, 1, 2].map(|i| Dim::sym(SymbolId(i)));
    let join = |x: &Dim, y: &Dim| x.broadcast(y).expect("symbols may agree");
    let left = join(&join(&a, &b), &c);
    assert_eq!(left, join(&a, &join(&c, &b)));
    assert_eq!(left, join(&left, &b));
    assert_eq!(eval(&left, [1, 1, 5]), Ok(5));
    assert_eq!(eval(&left, [2, 1, 5]), Err(EvalError::Broadcast(2, 5)));
    assert_eq!(a.broadcast(&1.into()), Some(a.clone()));
    assert_eq!(a.broadcast(&4.into()), Some(4.into()));
    assert_eq!(Dim::from(3).broadcast(&4.into()), None);
    let never = left.substitute(&|s| (s.0 < 2).then(|| Dim::from(s.0 as i64 + 3)));
    assert_eq!(eval(&never, [0, 0, 5]), Err(EvalError::Broadcast(3, 4)));
    for dim in [left, never] {
        let text = dim.display(&table());
        assert_eq!(Dim::parse(&text, &mut table()), Ok(dim), "{text}");
    }
}

#[test]
fn hostile_depth_and_size_are_refused() {
    let mut t = table();
    for text in ["-".repeat(100_000), "(".repeat(100_000), "max(".repeat(5000)] {
        assert!(Dim::parse(&text, &mut t).is_err());
    }
    let sum: Vec<String> = (0..40).map(|i| format!("x{i}")).collect();
    let sum = format!("({})", sum.join("+"));
    let error = Dim::parse(&[sum.as_str(); 9].join("*"), &mut t).unwrap_err();
    assert!(error.contains("too many terms"), "{error}");
    let by_zero = Dim::parse("floordiv(A,0)", &mut t).expect("it parses");
    assert_eq!(eval(&by_zero, [1, 1, 1]), Err(EvalError::DivisionByZero));
    assert!(Dim::parse("A B", &mut t).is_err());
}
