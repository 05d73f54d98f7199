//! Tiles of matrices that the threads of a block compute together, on tensor cores.
//!
//! Shared memory is addressed in 32 bits: the tiles' addresses stay in registers through
//! loops that need nearly all of them.

mod attention;
mod attention_copy;
mod attention_math;
mod attention_result;
mod attention_wgmma;
mod gemm;

use crate::emit::visit;
use crate::text::{Text, Ty, V};
use crate::{PtxError, PtxTarget};
use cascata_ir::kernel::{Kernel, Stmt};
use cascata_types::DType;

/// Shared memory of a kernel's tiles.
pub(crate) fn shared_bytes(kernel: &Kernel) -> u32 {
    let mut most = 0;
    visit(&kernel.body, &mut |s| match s {
        Stmt::TileAttention(a) => most = most.max(attention::bytes(a)),
        Stmt::TileGemm(g) => most = most.max(gemm::bytes(g)),
        _ => {}
    });
    most
}

/// What was made of a kernel, if the target has the instructions.
pub(crate) fn targeted<T>(kernel: &Kernel, target: PtxTarget, made: T) -> Result<T, PtxError> {
    let mut by_wgmma = None;
    visit(&kernel.body, &mut |s| match s {
        Stmt::TileAttention(a) if a.schedule.wgmma => by_wgmma = Some("attention"),
        Stmt::TileGemm(_) => by_wgmma = Some("a product"),
        _ => {}
    });
    let Some(what) = by_wgmma.filter(|_| target.name != "sm_90a") else { return Ok(made) };
    let problem = format!("{what} by wgmma needs sm_90a, not {}", target.name);
    Err(PtxError { kernel: kernel.name.clone(), problems: vec![problem] })
}

/// Whether an instruction may be moved, merged or dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It only computes.
    None,
    /// It reads or writes memory, or waits.
    Memory,
}

impl Text {
    /// Instructions of PTX: `$0…` are the results, then the operands.
    fn asm(&mut self, code: &str, results: &[Ty], operands: &[V], effect: Effect) -> Vec<V> {
        let register = |ty: Ty| match ty {
            Ty::F32 => "f",
            Ty::I32 => "r",
            _ => "l",
        };
        let mut constraints: Vec<String> =
            results.iter().map(|ty| format!("={}", register(*ty))).collect();
        constraints.extend(operands.iter().map(|v| register(v.ty).to_string()));
        let effects = match effect {
            Effect::None => "",
            Effect::Memory => {
                constraints.push("~{memory}".into());
                "has_side_effects "
            }
        };
        let list: Vec<String> = operands.iter().map(V::to_string).collect();
        let from: Vec<String> = operands.iter().map(|v| v.ty.to_string()).collect();
        let to: Vec<String> = results.iter().map(Ty::to_string).collect();
        let text = format!(
            "llvm.inline_asm {effects}\"{code}\", \"{}\" {} : ({}) -> ",
            constraints.join(","),
            list.join(", "),
            from.join(", ")
        );
        match results {
            [] => {
                self.line(format_args!("{text}()"));
                vec![]
            }
            [one] => vec![self.define(*one, format_args!("{text}{one}"))],
            _ => {
                let ty = format!("!llvm.struct<({})>", to.join(", "));
                let all = self.define(Ty::I64, format_args!("{text}{ty}"));
                let part = |(i, r): (usize, &Ty)| {
                    self.define(*r, format_args!("llvm.extractvalue {all}[{i}] : {ty}"))
                };
                results.iter().enumerate().map(part).collect()
            }
        }
    }

    /// Instructions with so many results of f32 (`$0…`) and registers that they change (behind
    /// them, and once more as operands), then the other operands.
    fn asm_in_place(&mut self, code: &str, change: (usize, &[V]), operands: &[V]) -> Vec<V> {
        let (new, registers) = change;
        let mut constraints = vec!["=&f".to_string(); new + registers.len()];
        constraints.extend((new..new + registers.len()).map(|i| i.to_string()));
        let other = |v: &V| if v.ty == Ty::I32 { "r" } else { "l" }.to_string();
        constraints.extend(operands.iter().map(other));
        constraints.push("~{memory}".into());
        let all = [registers, operands].concat();
        let results = vec![Ty::F32; new + registers.len()];
        let to = vec!["f32"; results.len()].join(", ");
        let ty = format!("!llvm.struct<({to})>");
        let result = self.define(
            Ty::I64,
            format_args!(
                "llvm.inline_asm has_side_effects \"{code}\", \"{}\" {} : ({}) -> {ty}",
                constraints.join(","),
                list(&all),
                types(&all)
            ),
        );
        let part = |(i, r): (usize, &Ty)| {
            self.define(*r, format_args!("llvm.extractvalue {result}[{i}] : {ty}"))
        };
        results.iter().enumerate().map(part).collect()
    }

    /// `scf.for` over i32 with values that go from iteration to iteration.
    fn carried_loop(
        &mut self,
        (from, to): (V, V),
        start: &[V],
        body: impl FnOnce(&mut Text, V, Vec<V>) -> Vec<V>,
    ) -> Vec<V> {
        let step = self.int(Ty::I32, 1);
        let i = self.fresh(Ty::I32);
        let results: Vec<V> = start.iter().map(|v| self.fresh(v.ty)).collect();
        let inside: Vec<V> = start.iter().map(|v| self.fresh(v.ty)).collect();
        let bound: Vec<String> =
            inside.iter().zip(start).map(|(a, b)| format!("{a} = {b}")).collect();
        self.line(format_args!(
            "{} = scf.for {i} = {from} to {to} step {step} iter_args({}) -> ({}) : i32 {{",
            list(&results),
            bound.join(", "),
            types(start)
        ));
        let end = body(self, i, inside);
        self.line(format_args!("scf.yield {} : {}\n}}", list(&end), types(&end)));
        results
    }

    /// `scf.if` with values: what `then` makes of them, or they themselves.
    fn changed_if(
        &mut self,
        cond: V,
        values: &[V],
        then: impl FnOnce(&mut Text) -> Vec<V>,
    ) -> Vec<V> {
        let results: Vec<V> = values.iter().map(|v| self.fresh(v.ty)).collect();
        self.line(format_args!("{} = scf.if {cond} -> ({}) {{", list(&results), types(values)));
        let changed = then(self);
        self.line(format_args!("scf.yield {} : {}", list(&changed), types(&changed)));
        self.line(format_args!("}} else {{\nscf.yield {} : {}\n}}", list(values), types(values)));
        results
    }

    fn i32(&mut self, x: i64) -> V {
        self.int(Ty::I32, x)
    }

    /// `a OP number`.
    fn with(&mut self, op: &str, a: V, number: i64) -> V {
        let number = self.int(a.ty, number);
        self.op(op, &[a, number])
    }
}

/// Rows of a matrix that `wgmma` reads, in bytes: columns come in blocks of as many.
const ROW: u32 = 128;
/// What of shared memory a block may have where there is `wgmma` (227 KiB, less what is static).
const MOST_SHARED_WGMMA: u32 = 226 << 10;

impl Text {
    /// A matrix descriptor of `wgmma`: 128-byte swizzle, 8 rows after each other, so many bytes
    /// from a block of columns to the next one.
    fn descriptor(&mut self, at: V, block_bytes: u32) -> V {
        let fixed = i64::from(block_bytes / 16) << 16 | (8 * i64::from(ROW) / 16) << 32 | 1 << 62;
        let units = self.with("arith.shrui", at, 4);
        let units = self.with("arith.andi", units, 0x3fff);
        let units = self.resize(units, Ty::I64, false);
        self.with("arith.ori", units, fixed)
    }

    /// Stores two f32 as neighbours of a dtype, so many bytes behind an address that is a
    /// multiple of both.
    fn store_pair(&mut self, at: V, behind: usize, dtype: DType, [a, b]: [V; 2]) {
        let Some(half) = half_of(dtype) else {
            let code = format!("st.global.v2.f32 [$0+{behind}], {{$1, $2}};");
            self.asm(&code, &[], &[at, a, b], Effect::Memory);
            return;
        };
        let code = format!("cvt.rn.{half}x2.f32 $0, $1, $2;");
        let packed = self.asm(&code, &[Ty::I32], &[b, a], Effect::None)[0];
        self.asm(&format!("st.global.b32 [$0+{behind}], $1;"), &[], &[at, packed], Effect::Memory);
    }
}

/// What instructions call a 16-bit float.
fn half_of(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 => Some("f16"),
        DType::BF16 => Some("bf16"),
        _ => None,
    }
}

fn list(values: &[V]) -> String {
    values.iter().map(V::to_string).collect::<Vec<_>>().join(", ")
}

fn types(values: &[V]) -> String {
    values.iter().map(|v| v.ty.to_string()).collect::<Vec<_>>().join(", ")
}
