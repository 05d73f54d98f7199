//! Attention of a tile.

use super::{Printer, scalar};
use crate::kernel::{Sees, TileAttention, TileResult};

impl Printer<'_> {
    pub(super) fn tile_attention(&mut self, a: &TileAttention) {
        let mut rows = vec![
            ("rows", self.dim(&a.rows.count)),
            ("group", a.rows.group.to_string()),
            ("q_token_stride", self.dim(&a.rows.token_stride)),
            ("q_head_stride", self.dim(&a.rows.head_stride)),
        ];
        rows.extend(a.rows.index.as_ref().map(|i| ("index", self.place(i))));
        let mut keys =
            vec![("keys", self.dim(&a.keys.count)), ("key_stride", self.dim(&a.keys.stride))];
        if let Some(table) = &a.keys.table {
            keys.extend([
                ("blocks", self.place(&table.blocks)),
                ("block_tokens", table.tokens.to_string()),
                ("block_stride", self.dim(&table.block_stride)),
            ]);
        }
        let sees = match &a.sees {
            Sees::All => vec![],
            Sees::UpTo { first } => vec![("up_to", self.dim(first))],
            Sees::Positions { positions, first, least } => vec![
                ("positions", self.place(positions)),
                ("first_key", self.dim(first)),
                ("least", self.dim(least)),
            ],
        };
        let result = match &a.result {
            TileResult::Output { out, token_stride, head_stride } => vec![
                ("out", self.place(out)),
                ("token_stride", self.dim(token_stride)),
                ("head_stride", self.dim(head_stride)),
            ],
            TileResult::State { max, sum, out, token_states } => vec![
                ("max", self.place(max)),
                ("sum", self.place(sum)),
                ("out", self.place(out)),
                ("token_states", self.dim(token_states)),
            ],
        };
        let s = a.schedule;
        let lines = [
            vec![("q", self.place(&a.q)), ("k", self.place(&a.k)), ("v", self.place(&a.v))],
            rows,
            keys,
            sees,
            vec![("scale", scalar(a.scale)), ("head_dim", a.head_dim.to_string())],
            result,
            vec![
                ("tile_rows", s.rows.to_string()),
                ("tile_keys", s.keys.to_string()),
                ("warps", s.warps.to_string()),
                ("stages", s.stages.to_string()),
                ("ahead", s.ahead.to_string()),
                ("wgmma", s.wgmma.to_string()),
            ],
        ];
        self.block("tile_attention", &lines);
    }
}
