//! The algebra of partial attention: merging is associative and commutative within rounding,
//! empty sets are neutral to the bit, −∞ and fully masked sets make no NaN.

use cascata_kv::Partial;
use proptest::prelude::*;

const DIM: usize = 3;

type Key = (f32, [f32; DIM]);

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let score = prop_oneof![8 => -30.0f32..30.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(-3e38f32)];
    prop::collection::vec((score, prop::array::uniform3(-2.0f32..2.0)), 0..6)
}

fn partial(keys: &[Key]) -> Partial {
    let mut out = Partial::empty(DIM);
    out.max = keys.iter().fold(f32::NEG_INFINITY, |m, k| m.max(k.0));
    if out.max > f32::NEG_INFINITY {
        let max = out.max;
        keys.iter().for_each(|(s, v)| out.push((s - max).exp(), v));
    }
    out
}

fn merged(left: &Partial, right: &Partial) -> Partial {
    let mut out = left.clone();
    out.merge(right);
    out
}

fn result(partial: &Partial) -> [f32; DIM] {
    let mut out = [f32::NAN; DIM];
    partial.finalize(&mut out);
    out
}

fn close(a: &Partial, b: &Partial) -> bool {
    let near = |x: f32, y: f32| (x - y).abs() <= 1e-5 * (1.0 + y.abs());
    a.max == b.max
        && near(a.sum, b.sum)
        && result(a).iter().zip(result(b)).all(|(x, y)| near(*x, y))
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative(a in keys(), b in keys(), c in keys()) {
        let all = partial(&[&a[..], &b, &c].concat());
        let (a, b, c) = (partial(&a), partial(&b), partial(&c));
        prop_assert!(close(&merged(&merged(&a, &b), &c), &merged(&a, &merged(&b, &c))));
        prop_assert!(close(&merged(&a, &b), &merged(&b, &a)));
        prop_assert!(close(&merged(&merged(&a, &b), &c), &all));
    }

    #[test]
    fn empty_sets_are_neutral_to_the_bit(a in keys()) {
        let (a, empty) = (partial(&a), Partial::empty(DIM));
        prop_assert_eq!(&merged(&a, &empty), &a);
        prop_assert_eq!(&merged(&empty, &a), &a);
        prop_assert!(result(&a).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn two_empty_sets_stay_empty() {
    let empty = Partial::empty(DIM);
    assert_eq!(merged(&empty, &empty), empty);
    assert_eq!(result(&empty), [0.0; DIM]);
    assert_eq!(partial(&[(f32::NEG_INFINITY, [1.0; DIM])]), empty, "a masked key is no key");
}
