//! Attention of a tile.

use super::{Problem, Verifier};
use crate::kernel::{LoopKind, Sees, TileAttention, TileResult};
use cascata_types::{DType, Dim};

impl Verifier<'_> {
    pub(super) fn tile_attention(&mut self, a: &TileAttention) {
        if self.scope.loops.iter().any(|l| l.kind != LoopKind::Serial) {
            self.report(Problem::TileInParallelLoop);
        }
        let (dtype, _) = self.read(&a.q);
        for (what, place) in [("the keys", &a.k), ("the values", &a.v)] {
            let (found, _) = self.read(place);
            if let Some(dtype) = dtype {
                self.expect_dtype(what, dtype, found);
            }
        }
        if dtype.is_some_and(|d| !matches!(d, DType::F16 | DType::BF16 | DType::F32)) {
            self.report(Problem::TileFloat);
        }
        let (rows, keys) = (&a.rows, &a.keys);
        let mut dims = vec![&rows.count, &rows.token_stride, &rows.head_stride];
        dims.extend([&keys.count, &keys.stride]);
        if let Some(index) = &rows.index {
            self.operand("the index", index, DType::I32);
        }
        if let Some(table) = &keys.table {
            self.operand("the block table", &table.blocks, DType::I32);
            dims.push(&table.block_stride);
        }
        match &a.sees {
            Sees::All => {}
            Sees::UpTo { first } => dims.push(first),
            Sees::Positions { positions, first, least } => {
                self.operand("the positions", positions, DType::I32);
                dims.extend([first, least]);
            }
        }
        self.tile_result(a, &mut dims);
        dims.into_iter().for_each(|d| {
            self.dim(d);
        });
        self.expect_dtype("the scale", DType::F32, Some(a.scale.dtype));
        self.tile_sizes(a);
    }

    fn tile_result<'a>(&mut self, a: &'a TileAttention, dims: &mut Vec<&'a Dim>) {
        match &a.result {
            TileResult::Output { out, token_stride, head_stride } => {
                let found = self.write(out.buffer, &out.at);
                if found.is_some_and(|d| !matches!(d, DType::F16 | DType::BF16 | DType::F32)) {
                    self.report(Problem::TileFloat);
                }
                dims.extend([token_stride, head_stride]);
            }
            TileResult::State { max, sum, out, token_states } => {
                [max, sum, out].into_iter().for_each(|p| self.result(p, DType::F32));
                dims.push(token_states);
            }
        }
        self.of_launch(a.operands().into_iter().chain(a.results()));
    }

    fn tile_sizes(&mut self, a: &TileAttention) {
        let s = a.schedule;
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, what: &'static str| {
            if !holds {
                wrong.push(Problem::TileSize(what));
            }
        };
        expect(a.head_dim > 0, "head_dim is 1 or more");
        expect(a.rows.group > 0, "group is 1 or more");
        expect(a.scale.to_f64() > 0.0 && a.scale.to_f64().is_finite(), "scale is above 0");
        expect(s.rows > 0 && s.keys > 0, "tile_rows and tile_keys are 1 or more");
        expect(s.warps > 0 && s.stages > 0, "warps and stages are 1 or more");
        if let Some(table) = &a.keys.table {
            expect(table.tokens.is_power_of_two(), "block_tokens is a power of two");
        }
        if let Some(count) = a.rows.count.as_const() {
            expect(count <= i64::from(s.rows), "rows are tile_rows at most");
        }
        wrong.into_iter().for_each(|p| self.report(p));
    }
}
