//! The same bits as elements of another dtype.

use super::*;
use cascata_types::DType;

#[test]
fn between_floats_and_integers() {
    let floats = [0.0f32, -0.0, 1.5, f32::INFINITY, f32::MIN_POSITIVE / 4.0, -3.25, f32::MAX];
    check(Op::BitCast { to: DType::I32 }, vec![Arg::Input(t(&[7], floats))], 0.0);
    check(Op::BitCast { to: DType::U32 }, vec![Arg::Named(t(&[7], floats), &["n"])], 0.0);
    let doubles = [0.0f64, -0.0, 1.5, f64::NEG_INFINITY, f64::MIN_POSITIVE / 4.0];
    check(Op::BitCast { to: DType::I64 }, vec![Arg::Input(t(&[5], doubles))], 0.0);
    let integers = [0i32, -1, i32::MIN, 0x3f80_0000, 1];
    check(Op::BitCast { to: DType::F32 }, vec![Arg::Input(t(&[5], integers))], 0.0);
    check(Op::BitCast { to: DType::U32 }, vec![Arg::Const(t(&[5], integers))], 0.0);
    let wide = [0u64, 1, 0x3ff8_0000_0000_0000, 0xc000_0000_0000_0000];
    check(Op::BitCast { to: DType::F64 }, vec![Arg::Input(t(&[4], wide))], 0.0);
}

/// Its operand may be computed by the same kernel.
#[test]
fn of_what_a_group_computes() {
    check_graph(
        vec![Arg::Input(pattern(&[3, 5], 0)), Arg::Input(pattern(&[5, 2], 1))],
        0.0,
        |g, v| {
            let y = g.add1(Graph::ROOT, Op::MatMul, vec![v[0], v[1]], "product").unwrap();
            let bits =
                g.add1(Graph::ROOT, Op::BitCast { to: DType::I32 }, vec![y], "bits").unwrap();
            vec![g.add1(Graph::ROOT, Op::BitCast { to: DType::F32 }, vec![bits], "back").unwrap()]
        },
    );
}
