//! How a tensor's elements lie in memory.

use crate::DType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Columns of one packed panel: one 512-bit register of f32. Wider micro-kernels
/// take several neighbouring panels, so weights are packed once for every ISA.
pub const PANEL_WIDTH: usize = 16;

/// Rows of 8-bit integers that lie together: what an instruction multiplies and sums in i32.
pub const BYTE_GROUP: u64 = 4;

/// How a tensor's elements lie in memory; changing it is an op like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Row-major, contiguous.
    #[default]
    Dense,
    /// The right-hand operand of a contraction, packed for the GEMM micro-kernels.
    Panels(PanelEncoding),
    /// Block-quantised (GGUF formats).
    Quant(QuantFormat),
    /// Only blocks of `rows`×`cols` with a non-zero are stored.
    BlockSparse {
        /// Block height.
        rows: u32,
        /// Block width.
        cols: u32,
    },
}

/// `[k_blocks][panels][k_block / k_group][PANEL_WIDTH][k_group]` of the logical matrix `B[K,N]`;
/// behind each panel of [`BYTE_GROUP`]s lie the sums of its columns, `PANEL_WIDTH` i32.
///
/// K is cut into blocks of `k_block` rows (the last one shorter in the logical
/// matrix, zero-padded here, as every block is to whole groups); inside a block the N
/// columns lie in panels of [`PANEL_WIDTH`], zero-padded on the right. A leading batch of
/// matrices is stored one packed matrix after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PanelEncoding {
    /// Rows of the logical matrix.
    pub k: u64,
    /// Columns of the logical matrix.
    pub n: u64,
    /// Rows per K block.
    pub k_block: u64,
    /// Rows of a column that lie together: what one instruction multiplies and sums.
    pub k_group: u64,
}

impl PanelEncoding {
    /// Rows that lie together for elements of `dtype`.
    pub fn group_of(dtype: DType) -> u64 {
        match dtype {
            DType::I16 | DType::BF16 => 2,
            DType::I8 => BYTE_GROUP,
            _ => 1,
        }
    }
    /// Elements behind each panel that hold the sums of its columns.
    pub fn sums(&self) -> u64 {
        if self.k_group == BYTE_GROUP { PANEL_WIDTH as u64 * 4 } else { 0 }
    }
    /// Whether both cuts of K have a length.
    pub fn is_cut(&self) -> bool {
        self.k_block > 0 && self.k_group > 0
    }
    /// Number of K blocks.
    pub fn k_blocks(&self) -> u64 {
        self.k.div_ceil(self.k_block.max(1))
    }
    /// Number of column panels.
    pub fn panels(&self) -> u64 {
        self.n.div_ceil(PANEL_WIDTH as u64)
    }
    /// Elements between a panel and its right neighbour in the same K block.
    pub fn panel_stride(&self) -> u64 {
        self.k_block.next_multiple_of(self.k_group) * PANEL_WIDTH as u64 + self.sums()
    }
    /// Elements between a K block and the next.
    pub fn block_stride(&self) -> u64 {
        self.panels() * self.panel_stride()
    }
    /// Stored elements of one matrix, padding included.
    pub fn elements(&self) -> u64 {
        self.k_blocks() * self.block_stride()
    }
    /// [`PanelEncoding::elements`] for untrusted numbers; `None` when it does not fit.
    pub fn checked_elements(&self) -> Option<u64> {
        let block = self.k_block.checked_next_multiple_of(self.k_group)?;
        let panel = block.checked_mul(PANEL_WIDTH as u64)?.checked_add(self.sums())?;
        self.panels().checked_mul(panel)?.checked_mul(self.k_blocks())
    }
    /// Where the logical element `(row, col)` lies.
    pub fn offset(&self, row: u64, col: u64) -> u64 {
        let (w, group) = (PANEL_WIDTH as u64, self.k_group);
        let in_block = row % self.k_block;
        (row / self.k_block) * self.block_stride()
            + (col / w) * self.panel_stride()
            + (in_block / group * w + col % w) * group
            + in_block % group
    }
    /// Packs a matrix given by `at(row, col)`; padding and sums are `T::default()`.
    pub fn pack<T: Copy + Default>(&self, at: impl Fn(u64, u64) -> T) -> Vec<T> {
        let mut out = vec![T::default(); self.elements() as usize];
        for row in 0..self.k {
            for col in 0..self.n {
                out[self.offset(row, col) as usize] = at(row, col);
            }
        }
        out
    }
}

/// GGUF block formats that stay packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are GGUF's")]
pub enum QuantFormat {
    Q8_0,
    Q4_0,
    Q4_1,
    Q4K,
    Q5K,
    Q6K,
}

impl QuantFormat {
    /// Elements of one block, consecutive along the last axis.
    pub const fn block_elements(self) -> u64 {
        match self {
            QuantFormat::Q8_0 | QuantFormat::Q4_0 | QuantFormat::Q4_1 => 32,
            QuantFormat::Q4K | QuantFormat::Q5K | QuantFormat::Q6K => 256,
        }
    }

    /// Stored bytes of one block (ggml's `block_*` structs).
    pub const fn block_bytes(self) -> u64 {
        match self {
            QuantFormat::Q8_0 => 34,
            QuantFormat::Q4_0 => 18,
            QuantFormat::Q4_1 => 20,
            QuantFormat::Q4K => 144,
            QuantFormat::Q5K => 176,
            QuantFormat::Q6K => 210,
        }
    }
}

impl fmt::Display for QuantFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QuantFormat::Q8_0 => "q8_0",
            QuantFormat::Q4_0 => "q4_0",
            QuantFormat::Q4_1 => "q4_1",
            QuantFormat::Q4K => "q4_k",
            QuantFormat::Q5K => "q5_k",
            QuantFormat::Q6K => "q6_k",
        })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Dense => f.write_str("dense"),
            Encoding::Panels(p) => {
                write!(f, "panels({}x{}/{}/{})", p.k, p.n, p.k_block, p.k_group)
            }
            Encoding::Quant(q) => write!(f, "{q}"),
            Encoding::BlockSparse { rows, cols } => write!(f, "block({rows}x{cols})"),
        }
    }
}

impl QuantFormat {
    /// Every format, in declaration order.
    pub const ALL: [QuantFormat; 6] = {
        use QuantFormat::*;
        [Q8_0, Q4_0, Q4_1, Q4K, Q5K, Q6K]
    };
}

impl FromStr for Encoding {
    type Err = String;

    /// Parses the printed form.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an encoding");
        if text == "dense" {
            return Ok(Encoding::Dense);
        }
        if let Some(q) = QuantFormat::ALL.into_iter().find(|q| q.to_string() == text) {
            return Ok(Encoding::Quant(q));
        }
        let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
        let (a, b) = rest.strip_suffix(')').and_then(|r| r.split_once('x')).ok_or_else(wrong)?;
        match name {
            "panels" => {
                let (n, cuts) = b.split_once('/').ok_or_else(wrong)?;
                let (k_block, k_group) = cuts.split_once('/').ok_or_else(wrong)?;
                let number = |s: &str| s.parse::<u64>().map_err(|_| wrong());
                Ok(Encoding::Panels(PanelEncoding {
                    k: number(a)?,
                    n: number(n)?,
                    k_block: number(k_block)?,
                    k_group: number(k_group)?,
                }))
            }
            "block" => {
                let number = |s: &str| s.parse::<u32>().map_err(|_| wrong());
                Ok(Encoding::BlockSparse { rows: number(a)?, cols: number(b)? })
            }
            _ => Err(wrong()),
        }
    }
}
