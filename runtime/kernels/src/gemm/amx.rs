//! `gemm_u8@1` and `gemm_bf16@1` by AMX tiles: 16 × 16 sums of products over 64 bytes of K an
//! instruction.
//!
//! A block of 32 rows and 32 columns is four tiles of sums, beside them two of A and two of B
//! (Intel 64 and IA-32 Architectures Optimization Reference Manual, ch. 20). A chunk of B's
//! panel, 16 units deep, is a tile as it lies there. Rows of A are read where they lie if a
//! tile of them is whole; else (offsets, ends of rows and of K) they are gathered first, once
//! for all columns. The end of K of a panel is copied, so that nothing behind it is read.
//!
//! Bound by flops: 2,048 of bytes and 1,024 of bf16 a cycle, 32 and 16 times those of FMA. Of
//! that a loop of loads and products in L1 reaches 0.6, or 0.2 if the core's other thread is
//! busy, as it was in what `gemm.rs` says (one Intel Emerald Rapids core).

use super::{Element, PANEL};
use cascata_artifact::abi::{Bf16, GemmArgs};
use std::arch::asm;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a tile, and rows of 64 bytes that it holds.
const ROWS: usize = 16;
/// Bytes of K that a tile holds of each row of A.
const CHUNK: usize = 64;
/// Bytes of a tile.
const TILE: usize = ROWS * CHUNK;
/// Most chunks of a pass: what is gathered of 32 rows is 32 KiB, on the stack of any thread.
const MOST_CHUNKS: usize = 16;

/// What AMX multiplies.
pub(crate) trait TileElement: Element {
    /// Rows from which on tiles are used, however empty.
    const LEAST_ROWS: i64;
    /// A byte of what stands for 0.
    fn zero_byte(args: &GemmArgs<Self, Self::Right, Self::Sum>) -> u8;
    /// Multiplies tile `half` of A by tile `p` of B into their tile of sums.
    ///
    /// # Safety
    /// The tiles are configured.
    unsafe fn multiply(half: usize, p: usize);
    /// What the sums of a panel's columns start from.
    ///
    /// # Safety
    /// The operands that `args` describes are readable; `columns` of the panel exist.
    unsafe fn start(
        args: &GemmArgs<Self, Self::Right, Self::Sum>,
        panel: usize,
        columns: usize,
    ) -> Row<Self::Sum>;
    /// Whether finished sums have bounds.
    fn is_clamped(args: &GemmArgs<Self, Self::Right, Self::Sum>) -> bool;
}

/// A row of a tile of sums.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Row<T>([T; PANEL]);

impl<T: Copy + Default> Row<T> {
    /// A panel's part of the bias, or zeros.
    ///
    /// # Safety
    /// The bias is null, or has these columns.
    #[inline(always)]
    unsafe fn of_bias(bias: *const T, panel: usize, columns: usize) -> Self {
        let mut row = Row([T::default(); PANEL]);
        if !bias.is_null() {
            // SAFETY: the caller's promise.
            let bias = unsafe { std::slice::from_raw_parts(bias.add(panel * PANEL), columns) };
            row.0[..columns].copy_from_slice(bias);
        }
        row
    }
}

macro_rules! load {
    ($tile:literal, $from:expr, $stride:expr) => {
        asm!(
            concat!("tileloadd tmm", $tile, ", [{from} + {stride}*1]"),
            from = in(reg) $from, stride = in(reg) $stride,
            options(nostack, preserves_flags, readonly)
        )
    };
}

macro_rules! store {
    ($tile:literal, $to:expr, $stride:expr) => {
        asm!(
            concat!("tilestored [{to} + {stride}*1], tmm", $tile),
            to = in(reg) $to, stride = in(reg) $stride,
            options(nostack, preserves_flags)
        )
    };
}

macro_rules! op {
    ($text:expr) => {
        asm!($text, options(nomem, nostack, preserves_flags))
    };
}

/// Multiplies tile `half` of A by tile `p` of B into their tile of sums.
macro_rules! multiply {
    ($instruction:literal, $half:expr, $p:expr) => {
        match ($half, $p) {
            (0, 0) => op!(concat!($instruction, " tmm0, tmm4, tmm6")),
            (0, _) => op!(concat!($instruction, " tmm1, tmm4, tmm7")),
            (_, 0) => op!(concat!($instruction, " tmm2, tmm5, tmm6")),
            _ => op!(concat!($instruction, " tmm3, tmm5, tmm7")),
        }
    };
}

impl TileElement for u8 {
    // PERF: of `m x 256x256` bytes, 4 rows 178 GOP/s (vectors 337), 8 rows 306 (377), 16 rows 621
    // (388); of 100 rows and a K of 27, 34 (87). Sums are the same either way.
    const LEAST_ROWS: i64 = 12;

    fn zero_byte(args: &GemmArgs<u8, i8, i32>) -> u8 {
        args.a_zero as u8
    }

    #[inline(always)]
    unsafe fn multiply(half: usize, p: usize) {
        // SAFETY: the caller's promise: AMX-INT8 is there and the tiles have their sizes.
        unsafe { multiply!("tdpbusd", half, p) }
    }

    /// `bias − zero·Σ B`.
    #[inline(always)]
    unsafe fn start(args: &GemmArgs<u8, i8, i32>, panel: usize, columns: usize) -> Row<i32> {
        // SAFETY: the caller's promise.
        let mut row = unsafe { Row::of_bias(args.bias, panel, columns) };
        for t in 0..if args.a_zero == 0 { 0 } else { args.batch } {
            let end = t * args.b_batch_stride + (panel as i64 + 1) * args.b_panel_stride;
            // SAFETY: the caller's promise: sums lie before the next panel.
            let sums = unsafe {
                args.b.offset(end as isize).cast::<[i32; PANEL]>().offset(-1).read_unaligned()
            };
            for (x, sum) in row.0.iter_mut().zip(sums) {
                *x = x.wrapping_sub(sum.wrapping_mul(args.a_zero as i32));
            }
        }
        row
    }

    fn is_clamped(_: &GemmArgs<u8, i8, i32>) -> bool {
        false
    }
}

impl TileElement for Bf16 {
    // Vectors sum in another order: a row's results must not depend on how many there are.
    const LEAST_ROWS: i64 = 1;

    fn zero_byte(_: &GemmArgs<Bf16, Bf16, f32>) -> u8 {
        0
    }

    #[inline(always)]
    unsafe fn multiply(half: usize, p: usize) {
        // SAFETY: the caller's promise: AMX-BF16 is there and the tiles have their sizes.
        unsafe { multiply!("tdpbf16ps", half, p) }
    }

    #[inline(always)]
    unsafe fn start(args: &GemmArgs<Bf16, Bf16, f32>, panel: usize, columns: usize) -> Row<f32> {
        // SAFETY: the caller's promise.
        unsafe { Row::of_bias(args.bias, panel, columns) }
    }

    fn is_clamped(args: &GemmArgs<Bf16, Bf16, f32>) -> bool {
        args.min > f64::NEG_INFINITY || args.max < f64::INFINITY
    }
}

/// A part of K: at most [`CHUNK`] bytes of a block.
#[derive(Clone, Copy)]
struct Chunk {
    block: usize,
    /// First byte in the block.
    start: usize,
    bytes: usize,
}

/// Tiles of A that were gathered, two a chunk.
type Gathered = MaybeUninit<[[[u8; TILE]; 2]; MOST_CHUNKS]>;

/// Tiles of A of a chunk: where their first rows are, and bytes between rows.
type LeftTiles = [(*const u8, usize); 2];

/// Whether tiles are worth it: rows enough, whole chunks of K, and sums that start anew.
pub(crate) fn suits<E: TileElement>(args: &GemmArgs<E, E::Right, E::Sum>) -> bool {
    let least_depth = (CHUNK / size_of::<E>()) as i64;
    args.m >= E::LEAST_ROWS && args.k.max(args.k_last) >= least_depth && args.accumulate == 0
}

/// Runs a call that [`suits`].
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none; this
/// process may use AMX.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) unsafe fn gemm<E: TileElement>(args: &GemmArgs<E, E::Right, E::Sum>) {
    let m = args.m.max(0) as usize;
    let gathered = &mut MaybeUninit::uninit();
    // SAFETY: the caller's promise, for all calls below.
    unsafe {
        configure();
        for row in (0..m).step_by(2 * ROWS) {
            let rows = row..m.min(row + 2 * ROWS);
            match rows.len() > ROWS {
                true => Rows::<E, 2> { args, rows, gathered }.run(),
                false => Rows::<E, 1> { args, rows, gathered }.run(),
            }
        }
        op!("tilerelease");
    }
}

/// Eight tiles of 16 rows of 64 bytes.
///
/// # Safety
/// This process may use AMX.
unsafe fn configure() {
    #[repr(C, align(64))]
    struct Palette([u8; 64]);
    let mut palette = Palette([0; 64]);
    palette.0[0] = 1;
    for tile in 0..8 {
        palette.0[16 + 2 * tile] = CHUNK as u8;
        palette.0[48 + tile] = ROWS as u8;
    }
    // SAFETY: the caller's promise; the palette is a valid one.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &palette, options(nostack, preserves_flags)) };
}

/// Rows of C, `T` tiles high.
struct Rows<'a, E: TileElement, const T: usize> {
    args: &'a GemmArgs<E, E::Right, E::Sum>,
    rows: Range<usize>,
    gathered: &'a mut Gathered,
}

impl<E: TileElement, const T: usize> Rows<'_, E, T> {
    /// All columns, in passes over parts of K.
    #[inline(always)]
    unsafe fn run(mut self) {
        let args = self.args;
        let mut chunks = [Chunk { block: 0, start: 0, bytes: 0 }; MOST_CHUNKS];
        let (mut n, mut first) = (0, true);
        for block in 0..args.batch.max(0) as usize {
            let k = if block as i64 + 1 == args.batch { args.k_last } else { args.k };
            let depth = k.max(0) as usize * size_of::<E>();
            for start in (0..depth).step_by(CHUNK) {
                if n == MOST_CHUNKS {
                    // SAFETY: the caller's promise.
                    unsafe { self.pass(&chunks, [first, false]) };
                    (n, first) = (0, false);
                }
                chunks[n] = Chunk { block, start, bytes: (depth - start).min(CHUNK) };
                n += 1;
            }
        }
        // SAFETY: as above.
        unsafe { self.pass(&chunks[..n], [first, true]) };
    }

    /// One pass: sums start from where they do, or from C; the last one's are finished.
    #[inline(always)]
    unsafe fn pass(&mut self, chunks: &[Chunk], [first, last]: [bool; 2]) {
        let mut left = [[(std::ptr::null(), 0); 2]; MOST_CHUNKS];
        for (i, chunk) in chunks.iter().enumerate() {
            for (half, tile) in left[i].iter_mut().enumerate().take(T) {
                // SAFETY: the caller's promise.
                *tile = unsafe { self.left_tile(i, *chunk, half) };
            }
        }
        let panels = (self.args.n.max(0) as usize).div_ceil(PANEL);
        for panel in (0..panels).step_by(2) {
            // SAFETY: as above.
            unsafe {
                match panels - panel {
                    1 => self.columns::<1>(chunks, &left, panel, [first, last]),
                    _ => self.columns::<2>(chunks, &left, panel, [first, last]),
                }
            }
        }
    }

    /// Rows of A from `16·half` on, where they lie or gathered.
    #[inline(always)]
    unsafe fn left_tile(&mut self, i: usize, chunk: Chunk, half: usize) -> (*const u8, usize) {
        let (args, row) = (self.args, self.rows.start + half * ROWS);
        let rows = (self.rows.end - row).min(ROWS);
        let stride = args.a_row_stride as usize * size_of::<E>();
        if args.a_offsets.is_null() && rows == ROWS && chunk.bytes == CHUNK {
            // SAFETY: the caller's promise: all rows are there.
            return unsafe { (self.left_row(chunk, row).unwrap_or(std::ptr::null()), stride) };
        }
        let tile = self.gathered.as_mut_ptr().cast::<[u8; TILE]>().wrapping_add(2 * i + half);
        let tile = tile.cast::<[u8; CHUNK]>();
        for r in 0..ROWS {
            // SAFETY: the tile is in `gathered`; the row has the chunk's bytes.
            unsafe {
                let from = if r < rows { self.left_row(chunk, row + r) } else { None };
                match from {
                    Some(from) if chunk.bytes == CHUNK => {
                        *tile.add(r) = *from.cast::<[u8; CHUNK]>()
                    }
                    Some(from) => {
                        let mut part = [0; CHUNK];
                        std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), chunk.bytes);
                        *tile.add(r) = part;
                    }
                    None => *tile.add(r) = [E::zero_byte(args); CHUNK],
                }
            }
        }
        (tile.cast(), CHUNK)
    }

    /// Where a row of A has a chunk; `None` for a row of padding.
    #[inline(always)]
    unsafe fn left_row(&self, chunk: Chunk, row: usize) -> Option<*const u8> {
        let args = self.args;
        let offset = if args.a_offsets.is_null() {
            row as i64 * args.a_row_stride + chunk.block as i64 * args.a_batch_stride
        } else {
            // SAFETY: the table holds `m` offsets per block.
            i64::from(unsafe { *args.a_offsets.add(chunk.block * args.m as usize + row) })
        };
        // SAFETY: the caller's promise: the row is there.
        (offset >= 0 || args.a_offsets.is_null())
            .then(|| unsafe { args.a.offset(offset as isize).cast::<u8>().add(chunk.start) })
    }

    /// `P` panels of C's columns.
    #[inline(always)]
    unsafe fn columns<const P: usize>(
        &self,
        chunks: &[Chunk],
        left: &[LeftTiles; MOST_CHUNKS],
        panel: usize,
        [first, last]: [bool; 2],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match first {
                true => self.start::<P>(panel),
                false => self.resume::<P>(panel),
            }
            for (chunk, left) in chunks.iter().zip(left) {
                // PERF: loads stand between products; all loads first take 2.6 times as long.
                self.load_right(*chunk, panel, 0);
                load!("4", left[0].0, left[0].1);
                E::multiply(0, 0);
                if P > 1 {
                    self.load_right(*chunk, panel, 1);
                    E::multiply(0, 1);
                }
                if T > 1 {
                    load!("5", left[1].0, left[1].1);
                    (0..P).for_each(|p| E::multiply(1, p));
                }
            }
            self.store::<P>(panel, last && E::is_clamped(self.args));
        }
    }

    /// Loads tile `p` of B.
    #[inline(always)]
    unsafe fn load_right(&self, chunk: Chunk, panel: usize, p: usize) {
        let args = self.args;
        let panel = (panel + p) as i64 * args.b_panel_stride;
        let block = chunk.block as i64 * args.b_batch_stride;
        let mut end = MaybeUninit::<[u8; TILE]>::uninit();
        // SAFETY: the panel is there; a unit of 16 columns is 64 bytes.
        unsafe {
            let mut from = args.b.offset((block + panel) as isize).cast::<u8>();
            from = from.add(chunk.start * PANEL);
            if chunk.bytes < CHUNK {
                let units = chunk.bytes.div_ceil(4) * CHUNK;
                let to = end.as_mut_ptr().cast::<u8>();
                std::ptr::copy_nonoverlapping(from, to, units);
                std::ptr::write_bytes(to.add(units), 0, TILE - units);
                from = to;
            }
            match p {
                0 => load!("6", from, CHUNK),
                _ => load!("7", from, CHUNK),
            }
        }
    }

    /// Every row of the sums starts alike: a stride of 0.
    #[inline(always)]
    unsafe fn start<const P: usize>(&self, panel: usize) {
        for p in 0..P {
            // SAFETY: the caller's promise.
            unsafe {
                let row = E::start(self.args, panel + p, self.columns_of(panel + p));
                (0..T).for_each(|half| load_sums(half, p, (&raw const row).cast(), 0));
            }
        }
    }

    /// The sums go on from C.
    #[inline(always)]
    unsafe fn resume<const P: usize>(&self, panel: usize) {
        for (half, p) in (0..T).flat_map(|half| (0..P).map(move |p| (half, p))) {
            let (c, rows, columns) = self.tile_of_c(half, panel + p);
            // SAFETY: the caller's promise: these rows and columns are C's.
            unsafe {
                if (rows, columns) == (ROWS, PANEL) {
                    load_sums(half, p, c.cast(), self.c_stride());
                    continue;
                }
                let mut part = [Row([E::Sum::default(); PANEL]); ROWS];
                for (r, row) in part.iter_mut().enumerate().take(rows) {
                    let from = c.byte_add(r * self.c_stride());
                    std::ptr::copy_nonoverlapping(from, row.0.as_mut_ptr(), columns);
                }
                load_sums(half, p, part.as_ptr().cast(), CHUNK);
            }
        }
    }

    /// The sums go to C, between their bounds if they are finished.
    #[inline(always)]
    unsafe fn store<const P: usize>(&self, panel: usize, clamp: bool) {
        for (half, p) in (0..T).flat_map(|half| (0..P).map(move |p| (half, p))) {
            let (c, rows, columns) = self.tile_of_c(half, panel + p);
            // SAFETY: the caller's promise: these rows and columns are C's.
            unsafe {
                if (rows, columns) == (ROWS, PANEL) && !clamp {
                    store_sums(half, p, c.cast(), self.c_stride());
                    continue;
                }
                let mut part = [Row([E::Sum::default(); PANEL]); ROWS];
                store_sums(half, p, part.as_mut_ptr().cast(), CHUNK);
                for (r, row) in part.iter_mut().enumerate().take(rows) {
                    if clamp {
                        row.0 = row.0.map(|x| E::clamped(self.args, x));
                    }
                    let to = c.byte_add(r * self.c_stride());
                    std::ptr::copy_nonoverlapping(row.0.as_ptr(), to, columns);
                }
            }
        }
    }

    /// Columns of C in a panel.
    fn columns_of(&self, panel: usize) -> usize {
        (self.args.n as usize - panel * PANEL).min(PANEL)
    }

    /// A tile of C: its first element, rows and columns.
    fn tile_of_c(&self, half: usize, panel: usize) -> (*mut E::Sum, usize, usize) {
        let row = self.rows.start + half * ROWS;
        let at = row as i64 * self.args.c_row_stride + (panel * PANEL) as i64;
        let rows = (self.rows.end - row).min(ROWS);
        (self.args.c.wrapping_offset(at as isize), rows, self.columns_of(panel))
    }

    /// Bytes between rows of C.
    fn c_stride(&self) -> usize {
        self.args.c_row_stride as usize * size_of::<E::Sum>()
    }
}

/// Loads a tile of sums.
///
/// # Safety
/// 16 rows of 64 bytes are readable from `from` on, `stride` bytes apart.
#[inline(always)]
unsafe fn load_sums(half: usize, p: usize, from: *const u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (half, p) {
            (0, 0) => load!("0", from, stride),
            (0, _) => load!("1", from, stride),
            (_, 0) => load!("2", from, stride),
            _ => load!("3", from, stride),
        }
    }
}

/// Stores a tile of sums.
///
/// # Safety
/// 16 rows of 64 bytes are writable from `to` on, `stride` bytes apart.
#[inline(always)]
unsafe fn store_sums(half: usize, p: usize, to: *mut u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (half, p) {
            (0, 0) => store!("0", to, stride),
            (0, _) => store!("1", to, stride),
            (_, 0) => store!("2", to, stride),
            _ => store!("3", to, stride),
        }
    }
}
