//! MLIR in its textual form, operation by operation.
//!
//! A printed operation is as short as one that is built, and what is emitted is what a dump
//! shows; MLIR's parser and verifier check it.

use cascata_types::DType;
use std::fmt::{self, Write as _};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    I1,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
    /// Of any memory.
    Ptr,
    /// Of global memory.
    Global,
    /// Of the block's shared memory.
    Shared,
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::I1 => "i1",
            Ty::I8 => "i8",
            Ty::I16 => "i16",
            Ty::I32 => "i32",
            Ty::I64 => "i64",
            Ty::F16 => "f16",
            Ty::BF16 => "bf16",
            Ty::F32 => "f32",
            Ty::F64 => "f64",
            Ty::Ptr => "!llvm.ptr",
            Ty::Global => "!llvm.ptr<1>",
            Ty::Shared => "!llvm.ptr<3>",
        })
    }
}

impl Ty {
    /// Of an integer type.
    pub fn bits(self) -> u32 {
        match self {
            Ty::I1 => 1,
            Ty::I8 => 8,
            Ty::I16 | Ty::F16 | Ty::BF16 => 16,
            Ty::I32 | Ty::F32 => 32,
            _ => 64,
        }
    }

    /// The integer type of the same size.
    pub fn int(self) -> Ty {
        match self.bits() {
            1 => Ty::I1,
            8 => Ty::I8,
            16 => Ty::I16,
            32 => Ty::I32,
            _ => Ty::I64,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::BF16 | Ty::F32 | Ty::F64)
    }

    /// How elements of a dtype lie in memory.
    pub fn stored(dtype: DType) -> Ty {
        match dtype {
            DType::Bool | DType::I8 | DType::U8 => Ty::I8,
            DType::F16 => Ty::F16,
            DType::BF16 => Ty::BF16,
            DType::F32 => Ty::F32,
            DType::F64 => Ty::F64,
            d => match d.stored_bytes() {
                2 => Ty::I16,
                4 => Ty::I32,
                _ => Ty::I64,
            },
        }
    }

    /// What holds a value of a dtype: half floats are f32 that are rounded after each operation.
    pub fn held(dtype: DType) -> Ty {
        match dtype {
            DType::Bool => Ty::I1,
            DType::F16 | DType::BF16 => Ty::F32,
            d => Ty::stored(d),
        }
    }
}

/// A value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct V {
    id: u32,
    pub ty: Ty,
}

impl fmt::Display for V {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.id)
    }
}

/// A function's text in the making.
#[derive(Default)]
pub(crate) struct Text {
    /// What stands at the function's start whatever is written now: memory of its own.
    pub entry: String,
    out: String,
    next: u32,
}

impl Text {
    /// The whole body.
    pub fn finish(self) -> String {
        self.entry + &self.out
    }

    /// A value that another line defines.
    pub fn fresh(&mut self, ty: Ty) -> V {
        self.next += 1;
        V { id: self.next, ty }
    }

    /// A line.
    pub fn line(&mut self, text: impl fmt::Display) {
        let _ = writeln!(self.out, "{text}");
    }

    /// `%v = TEXT`.
    pub fn define(&mut self, ty: Ty, text: impl fmt::Display) -> V {
        let v = self.fresh(ty);
        self.line(format_args!("{v} = {text}"));
        v
    }

    /// `NAME a, b : T`, of operands and result of one type.
    pub fn op(&mut self, name: &str, operands: &[V]) -> V {
        let ty = operands[0].ty;
        let list: Vec<String> = operands.iter().map(V::to_string).collect();
        self.define(ty, format_args!("{name} {} : {ty}", list.join(", ")))
    }

    /// An LLVM intrinsic of operands and result of one type.
    pub fn intrinsic(&mut self, name: &str, operands: &[V]) -> V {
        let ty = operands[0].ty;
        let list: Vec<String> = operands.iter().map(V::to_string).collect();
        let types = vec![ty.to_string(); operands.len()].join(", ");
        self.define(ty, format_args!("llvm.intr.{name}({}) : ({types}) -> {ty}", list.join(", ")))
    }

    /// A conversion.
    pub fn convert(&mut self, name: &str, x: V, to: Ty) -> V {
        self.define(to, format_args!("{name} {x} : {} to {to}", x.ty))
    }

    pub fn int(&mut self, ty: Ty, x: i64) -> V {
        match ty {
            Ty::I1 => self.define(ty, format_args!("arith.constant {}", x & 1 == 1)),
            _ => self.define(ty, format_args!("arith.constant {x} : {ty}")),
        }
    }

    /// `x` rounded to f32 or f64, bit by bit.
    pub fn float(&mut self, ty: Ty, x: f64) -> V {
        match ty {
            Ty::F64 => self.define(ty, format_args!("arith.constant 0x{:016X} : f64", x.to_bits())),
            _ => {
                self.define(ty, format_args!("arith.constant 0x{:08X} : f32", (x as f32).to_bits()))
            }
        }
    }

    /// `predicate`: `eq`, `slt`, `ult`, …
    pub fn cmpi(&mut self, predicate: &str, a: V, b: V) -> V {
        self.define(Ty::I1, format_args!("arith.cmpi {predicate}, {a}, {b} : {}", a.ty))
    }

    /// `predicate`: `oeq`, `olt`, `une`, `uno`, …
    pub fn cmpf(&mut self, predicate: &str, a: V, b: V) -> V {
        self.define(Ty::I1, format_args!("arith.cmpf {predicate}, {a}, {b} : {}", a.ty))
    }

    pub fn select(&mut self, mask: V, a: V, b: V) -> V {
        self.define(a.ty, format_args!("arith.select {mask}, {a}, {b} : {}", a.ty))
    }

    /// The same bits.
    pub fn bitcast(&mut self, x: V, to: Ty) -> V {
        if x.ty == to { x } else { self.convert("arith.bitcast", x, to) }
    }

    /// An integer of another width, signed or not.
    pub fn resize(&mut self, x: V, to: Ty, signed: bool) -> V {
        match to.bits().cmp(&x.ty.bits()) {
            // Floats of the same size come by here too: groups of threads exchange them as they are.
            std::cmp::Ordering::Equal => x,
            std::cmp::Ordering::Less => self.convert("arith.trunci", x, to),
            _ if signed => self.convert("arith.extsi", x, to),
            _ => self.convert("arith.extui", x, to),
        }
    }

    /// `base + offset` bytes.
    pub fn offset(&mut self, base: V, bytes: V) -> V {
        let (ty, index) = (base.ty, bytes.ty);
        self.define(
            ty,
            format_args!("llvm.getelementptr {base}[{bytes}] : ({ty}, {index}) -> {ty}, i8"),
        )
    }

    pub fn load(&mut self, from: V, ty: Ty, invariant: bool) -> V {
        let (align, invariant) =
            ((ty.bits() / 8).max(1), if invariant { " invariant" } else { "" });
        let text = format!(
            "llvm.load {from}{invariant} {{alignment = {align} : i64}} : {} -> {ty}",
            from.ty
        );
        self.define(ty, text)
    }

    pub fn store(&mut self, value: V, to: V) {
        let align = (value.ty.bits() / 8).max(1);
        self.line(format_args!(
            "llvm.store {value}, {to} {{alignment = {align} : i64}} : {}, {}",
            value.ty, to.ty
        ));
    }

    /// Memory of the thread's own, made when the function starts.
    pub fn own_memory(&mut self, ty: Ty, elements: i64) -> V {
        let (count, at) = (self.fresh(Ty::I64), self.fresh(Ty::Ptr));
        let _ = writeln!(self.entry, "{count} = arith.constant {elements} : i64");
        let _ = writeln!(
            self.entry,
            "{at} = llvm.alloca {count} x {ty} {{alignment = 16 : i64}} : (i64) -> !llvm.ptr"
        );
        at
    }
}
