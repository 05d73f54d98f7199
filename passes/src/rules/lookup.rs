//! Table lookups: one-hot products, and element-wise work on a table or on its rows.

use super::{Guard, ROW, Rhs, Rule};
use crate::egraph::site::Site;
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::{Scalar, Shape};
use egg::Id;

const FINITE_TABLE: Guard = Guard { name: "finite-table", holds: |s| s.finite(s.var("w")) };

const COUNTS_UP: Guard = Guard {
    name: "counts-up-from-zero",
    holds: |s| {
        let n = s.var("n");
        s.iota_axis(n) == s.rank(n).checked_sub(1)
    },
};

const SMALL_TABLE: Guard = Guard {
    name: "small-table",
    holds: |s| s.ty(s.var("t")).elements().as_const().is_some_and(|n| n <= 1 << 18),
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "one-hot-matmul",
        lhs: &["(matmul (cast:c (eq ?i ?n:const)) ?w:const)"],
        rhs: Rhs::Build(one_hot_matmul),
        sound_when: &[FINITE_TABLE, COUNTS_UP],
        source: "a product with a one-hot row picks a row; an index out of range picks a row of zeros",
        examples: &[
            "(matmul (cast{f32} (eq i:i32[A,B,1] n:=i32[1,1,7]:iota)) w:=f32[7,D])",
            "(matmul (cast{f32} (eq n:=i64[7]:iota i:i64[A,1])) w:=f32[7,D])",
        ],
        refutes: &[
            ("finite-table", "(matmul (cast{f32} (eq i:i64[3,1] n:=i64[7]:iota)) w:=f32[7,5]:inf)"),
            ("counts-up-from-zero", "(matmul (cast{f32} (eq i:i64[4,1] n:=i64[7])) w:=f32[7,5])"),
        ],
        ..ROW
    },
    Rule {
        name: "unary-on-table",
        lhs: &["(unary:u (gather:g ?t:const ?i))"],
        rhs: Rhs::Text("(gather:g (unary:u ?t) ?i)"),
        worth_when: &[SMALL_TABLE],
        source: "element-wise ops commute with lookups; the table folds",
        examples: &["(gelu_tanh (gather{0} t:=f32[7,D] i:i64[A,B]%7))"],
        ..ROW
    },
    Rule {
        name: "binary-on-table",
        lhs: &["(binary:b (gather:g ?t:const ?i) ?c:const)"],
        rhs: Rhs::Build(binary_on_table),
        worth_when: &[SMALL_TABLE],
        source: "element-wise ops commute with lookups; the table folds",
        examples: &[
            "(add (gather{0} t:=f32[7,D] i:i64[A,B]%7) c:=f32[D])",
            "(mul (gather{0} t:=f32[7,D] i:i64[A]%7) 0.5)",
        ],
        ..ROW
    },
    Rule {
        name: "reshape-on-rows",
        lhs: &["(reshape:s (gather:g ?t:const ?i))"],
        rhs: Rhs::Build(reshape_index),
        source: "the same rows for an index of another shape",
        examples: &["(reshape{A*B,D} (gather{0} t:=f32[7,D] i:i64[A,B]%7))"],
        ..ROW
    },
    Rule {
        name: "cast-after-lookup",
        lhs: &["(gather:g (cast:c ?t:const) ?i)"],
        rhs: Rhs::Text("(cast:c (gather:g ?t ?i))"),
        source: "quantised embeddings: convert the rows that are read, not the table",
        examples: &["(gather{0} (cast{f32} t:=i8[7,D]) i:i64[A,B]%7)"],
        ..ROW
    },
    Rule {
        name: "scale-after-lookup",
        lhs: &["(gather:g (mul ?t:const ?s:const) ?i)"],
        rhs: Rhs::Build(scale_after_lookup),
        source: "quantised embeddings: scale the rows that are read, not the table",
        examples: &[
            "(gather{0} (mul (cast{f32} t:=i8[7,D]) s:=f32[7,1]) i:i64[A,B]%7)",
            "(gather{0} (mul (cast{f32} t:=i8[7,D]) s:=f32[D]) i:i64[A]%7)",
        ],
        ..ROW
    },
];

fn one_hot_matmul(s: &mut Site) -> Option<Id> {
    let (i, n, w) = (s.var("i"), s.var("n"), s.var("w"));
    let table = s.shape(w);
    let index = s.shape(i);
    let (rows, width) = match (&table[..], index.split_last(), s.shape(n).split_last()) {
        ([rows, width], Some((one, _)), Some((last, lead)))
            if one.is(1) && last == rows && lead.iter().all(|d| d.is(1)) =>
        {
            (rows.clone(), width.clone())
        }
        _ => return None,
    };
    if !s.dtype(i).is_int() || s.rank(n) > index.len() {
        return None;
    }
    let squeezed = s.reshape(i, index[..index.len() - 1].to_vec())?;
    let zero = s.number(s.dtype(i), 0.0)?;
    let end = s.number(s.dtype(i), rows.as_const()? as f64)?;
    let above = s.add(Op::Binary(BinaryOp::Ge), &[squeezed, zero])?;
    let below = s.add(Op::Binary(BinaryOp::Lt), &[squeezed, end])?;
    let inside = s.add(Op::Binary(BinaryOp::And), &[above, below])?;
    let row = s.add(Op::Select, &[inside, squeezed, end])?;
    let value = Scalar::from_f64(s.dtype(w), 0.0);
    let nothing = s.add(Op::Fill { value, shape: vec![1.into(), width] }, &[])?;
    let extended = s.add(Op::Concat { axis: 0 }, &[w, nothing])?;
    s.add(Op::Gather { axis: 0 }, &[extended, row])
}

fn binary_on_table(s: &mut Site) -> Option<Id> {
    let Op::Gather { axis: 0 } = s.attr("g") else { return None };
    let (t, c) = (s.var("t"), s.var("c"));
    let mut shape = s.shape(c);
    while shape.first().is_some_and(|d| d.is(1)) {
        shape.remove(0);
    }
    if shape.len() >= s.rank(t) {
        return None;
    }
    let c = s.reshape(c, shape)?;
    let table = s.add(s.attr("b"), &[t, c])?;
    s.add(Op::Gather { axis: 0 }, &[table, s.var("i")])
}

fn reshape_index(s: &mut Site) -> Option<Id> {
    let (Op::Gather { axis: 0 }, Op::Reshape { shape }) = (s.attr("g"), s.attr("s")) else {
        return None;
    };
    let row: Shape = s.shape(s.var("t"))[1..].to_vec();
    let lead = shape.len().checked_sub(row.len())?;
    if shape[lead..] != row {
        return None;
    }
    let index = s.reshape(s.var("i"), shape[..lead].to_vec())?;
    s.add(Op::Gather { axis: 0 }, &[s.var("t"), index])
}

fn scale_after_lookup(s: &mut Site) -> Option<Id> {
    let Op::Gather { axis: 0 } = s.attr("g") else { return None };
    let (t, by, i) = (s.var("t"), s.var("s"), s.var("i"));
    let rows = s.add(Op::Gather { axis: 0 }, &[t, i])?;
    let by = match s.rank(by).cmp(&s.rank(t)) {
        std::cmp::Ordering::Less => by,
        std::cmp::Ordering::Equal if s.shape(by)[0] == s.shape(t)[0] => {
            s.add(Op::Gather { axis: 0 }, &[by, i])?
        }
        _ => return None,
    };
    s.binary(BinaryOp::Mul, rows, by)
}
