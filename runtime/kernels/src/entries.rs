//! The C entry points of each level, and the table of them.

use crate::Isa;
use cascata_artifact::abi::{
    Bf16, BlockFn, DwConvF32Args, ExpSumF32Fn, GemmBf16Args, GemmCodesArgs, GemmF32Args,
    GemmI16Args, GemmU8Args, Import, MapF32Fn, PackBF32Args, ReduceF32Fn,
};

/// A level's kernels, typed.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// [`Import::GemmF32`].
    pub gemm_f32: BlockFn<GemmF32Args>,
    /// [`Import::GemmBf16`].
    pub gemm_bf16: BlockFn<GemmBf16Args>,
    /// [`Import::GemmI16`].
    pub gemm_i16: BlockFn<GemmI16Args>,
    /// [`Import::GemmU8`].
    pub gemm_u8: BlockFn<GemmU8Args>,
    /// [`Import::GemmF32Bf16`].
    pub gemm_f32_bf16: BlockFn<GemmCodesArgs>,
    /// [`Import::GemmF32Q8`].
    pub gemm_f32_q8: BlockFn<GemmCodesArgs>,
    /// [`Import::GemmF32Q4`].
    pub gemm_f32_q4: BlockFn<GemmCodesArgs>,
    /// [`Import::DwConvF32`].
    pub dwconv_f32: BlockFn<DwConvF32Args>,
    /// [`Import::PackBF32`].
    pub pack_b_f32: BlockFn<PackBF32Args>,
    /// [`Import::ExpF32`].
    pub exp_f32: MapF32Fn,
    /// [`Import::ErfF32`].
    pub erf_f32: MapF32Fn,
    /// [`Import::TanhF32`].
    pub tanh_f32: MapF32Fn,
    /// [`Import::SigmoidF32`].
    pub sigmoid_f32: MapF32Fn,
    /// [`Import::SiluF32`].
    pub silu_f32: MapF32Fn,
    /// [`Import::GeluErfF32`].
    pub gelu_erf_f32: MapF32Fn,
    /// [`Import::GeluTanhF32`].
    pub gelu_tanh_f32: MapF32Fn,
    /// [`Import::LogF32`].
    pub log_f32: MapF32Fn,
    /// [`Import::SumF32`].
    pub sum_f32: ReduceF32Fn,
    /// [`Import::SumSqF32`].
    pub sum_sq_f32: ReduceF32Fn,
    /// [`Import::MaxF32`].
    pub max_f32: ReduceF32Fn,
    /// [`Import::ExpSumF32`].
    pub exp_sum_f32: ExpSumF32Fn,
}

impl Kernels {
    /// The kernels of the best level that is neither above `isa` nor above what this
    /// CPU supports, so that calling them is sound whatever `isa` says.
    pub fn new(isa: Isa) -> &'static Kernels {
        match isa.min(Isa::detect()) {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => &amx::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &bf16::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => &vnni::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            _ => &portable::KERNELS,
        }
    }

    /// The address of `import`.
    pub fn address(&self, import: Import) -> *const u8 {
        match import {
            Import::GemmF32 => self.gemm_f32 as *const u8,
            Import::GemmBf16 => self.gemm_bf16 as *const u8,
            Import::GemmI16 => self.gemm_i16 as *const u8,
            Import::GemmU8 => self.gemm_u8 as *const u8,
            Import::GemmF32Bf16 => self.gemm_f32_bf16 as *const u8,
            Import::GemmF32Q8 => self.gemm_f32_q8 as *const u8,
            Import::GemmF32Q4 => self.gemm_f32_q4 as *const u8,
            Import::DwConvF32 => self.dwconv_f32 as *const u8,
            Import::PackBF32 => self.pack_b_f32 as *const u8,
            Import::ExpF32 => self.exp_f32 as *const u8,
            Import::ErfF32 => self.erf_f32 as *const u8,
            Import::TanhF32 => self.tanh_f32 as *const u8,
            Import::SigmoidF32 => self.sigmoid_f32 as *const u8,
            Import::SiluF32 => self.silu_f32 as *const u8,
            Import::GeluErfF32 => self.gelu_erf_f32 as *const u8,
            Import::GeluTanhF32 => self.gelu_tanh_f32 as *const u8,
            Import::LogF32 => self.log_f32 as *const u8,
            Import::SumF32 => self.sum_f32 as *const u8,
            Import::SumSqF32 => self.sum_sq_f32 as *const u8,
            Import::MaxF32 => self.max_f32 as *const u8,
            Import::ExpSumF32 => self.exp_sum_f32 as *const u8,
        }
    }
}

/// The function address of `import` for the kernel table: the best implementation
/// that is neither above `isa` nor above what this CPU supports.
pub fn resolve(import: Import, isa: Isa) -> *const u8 {
    Kernels::new(isa).address(import)
}

/// Defines one level's row primitives and `KERNELS` from its token; the module has its own
/// GEMMs, all but those of the level `$below`, and its own `dwconv_f32` and `pack_b_f32`.
macro_rules! level {
    ($token:ident $(, $features:literal)?; $($gemm:ident)* $(, $below:ident)?) => {
        level!{@maps $token $($features)?;
            exp_f32 Exp, erf_f32 Erf, tanh_f32 Tanh, sigmoid_f32 Sigmoid, silu_f32 Silu,
            gelu_erf_f32 GeluErf, gelu_tanh_f32 GeluTanh, log_f32 Log
        }
        level!{@reductions $token $($features)?; sum_f32 Sum, sum_sq_f32 SumSq, max_f32 Max}

        $(#[target_feature(enable = $features)])?
        unsafe extern "C" fn exp_sum_f32(dst: *mut f32, src: *const f32, n: i64, bias: f32) -> f32 {
            // SAFETY: the table hands this out where the CPU has the level; the rest is
            // the caller's promise.
            unsafe { rows::exp_sum($token::assume(), dst, src, n, bias) }
        }

        level!{@codes $token $($features)?;
            gemm_f32_bf16 Pairs, gemm_f32_q8 Bytes, gemm_f32_q4 Nibbles
        }

        /// The level's table.
        pub(super) static KERNELS: Kernels = Kernels {
            $($gemm,)* gemm_f32_bf16, gemm_f32_q8, gemm_f32_q4, dwconv_f32, pack_b_f32, exp_f32,
            erf_f32, tanh_f32, sigmoid_f32, silu_f32, gelu_erf_f32, gelu_tanh_f32, log_f32,
            sum_f32, sum_sq_f32, max_f32, exp_sum_f32,
            $(..$below::KERNELS)?
        };
    };
    (@codes $token:ident $features:literal; $($name:ident $codes:ident),*) => {$(
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $name(args: *const GemmCodesArgs) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { codes::gemm::<_, codes::$codes>($token::assume(), &*args, gemm_f32) }
        }
    )*};
    (@codes $token:ident; $($name:ident $codes:ident),*) => {$(
        unsafe extern "C" fn $name(args: *const GemmCodesArgs) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { codes::gemm::<_, codes::$codes>($token::assume(), &*args, gemm_f32) }
        }
    )*};
    (@maps $token:ident $features:literal; $($name:ident $op:ident),*) => {$(
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $name(dst: *mut f32, src: *const f32, n: i64) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { rows::map::<_, math::$op>($token::assume(), dst, src, n) }
        }
    )*};
    (@maps $token:ident; $($name:ident $op:ident),*) => {$(
        unsafe extern "C" fn $name(dst: *mut f32, src: *const f32, n: i64) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { rows::map::<_, math::$op>($token::assume(), dst, src, n) }
        }
    )*};
    (@reductions $token:ident $features:literal; $($name:ident $op:ident),*) => {$(
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $name(src: *const f32, n: i64) -> f32 {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { rows::reduce::<_, rows::$op>($token::assume(), src, n) }
        }
    )*};
    (@reductions $token:ident; $($name:ident $op:ident),*) => {$(
        unsafe extern "C" fn $name(src: *const f32, n: i64) -> f32 {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { rows::reduce::<_, rows::$op>($token::assume(), src, n) }
        }
    )*};
}

/// Defines a vector level's GEMMs and their tiles, `rows: [widths in panels]`, and those that
/// use half of their last panel: `rows: [widths in vectors of 8]`.
#[cfg(target_arch = "x86_64")]
macro_rules! gemms {
    ($token:ident, $features:literal, $($name:ident $element:ident $args:ident),*;
     $width:expr, $height:expr,
     $($rows:literal: [$($panels:literal)*])*;
     half $half_height:expr, $($half_rows:literal: [$($halves:literal)*])*) => {
        $(unsafe extern "C" fn $name(args: *const $args) {
            // SAFETY: the caller's promise.
            unsafe { gemm::gemm::<$token, $element>(&*args) }
        })*

        #[target_feature(enable = $features)]
        unsafe fn tile<E: Element, const MR: usize, const NV: usize>(
            pass: &gemm::Pass<E>, row: usize, column: usize,
        )
        where
            $token: gemm::Multiply<E>,
        {
            // SAFETY: the table hands this out where the CPU has the level; the rest is
            // the caller's promise.
            unsafe { gemm::tile::<_, E, MR, NV>($token::assume(), pass, row, column) }
        }

        #[allow(dead_code, reason = "some levels have no such tiles")]
        #[target_feature(enable = $features)]
        unsafe fn half_tile<E: Element, const MR: usize, const NV: usize>(
            pass: &gemm::Pass<E>, row: usize, column: usize,
        )
        where
            Avx2: gemm::Multiply<E>,
        {
            // SAFETY: as above; every vector level includes AVX2 and FMA.
            unsafe { gemm::tile::<_, E, MR, NV>(Avx2::assume(), pass, row, column) }
        }

        impl gemm::GemmIsa for $token {
            type Half = Avx2;

            fn width(m: usize) -> usize {
                ($width)(m)
            }
            fn height(width: usize) -> usize {
                ($height)(width)
            }
            fn tile<E: Element>(rows: usize, width: usize) -> gemm::TileFn<E>
            where
                Self: gemm::Multiply<E>,
            {
                match (rows, width) {
                    $($(($rows, $panels) => tile::<E, $rows, { $panels * gemm::PANEL / $token::LANES }>,)*)*
                    _ => unreachable!("no tile of {rows} rows and {width} panels"),
                }
            }
            fn half_height(width: usize) -> Option<usize> {
                ($half_height)(width)
            }
            fn half_tile<E: Element>(rows: usize, width: usize) -> gemm::TileFn<E>
            where
                Avx2: gemm::Multiply<E>,
            {
                match (rows, 2 * width - 1) {
                    $($(($half_rows, $halves) => half_tile::<E, $half_rows, $halves>,)*)*
                    _ => unreachable!("no half tile of {rows} rows and {width} panels"),
                }
            }
        }
    };
}

/// [`gemms`] of 512-bit vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! gemms_512 {
    ($token:ident, $features:literal, $($name:ident $element:ident $args:ident),*; half $($half:tt)*) => {
        gemms! {
            $token, $features, $($name $element $args),*;
            |m| match m { 0..=3 => 8, 4..=6 => 4, _ => 3 },
            |width| match width { 1 => 14, 2 => 12, 3 => 8, 4 => 6, 5 => 5, 6 => 4, _ => 3 },
            1: [1 2 3 4 5 6 7 8] 2: [1 2 3 4 5 6 7 8] 3: [1 2 3 4 5 6 7 8]
            4: [1 2 3 4 5 6] 5: [1 2 3 4 5] 6: [1 2 3 4] 7: [1 2 3] 8: [1 2 3]
            9: [1 2] 10: [1 2] 11: [1 2] 12: [1 2] 13: [1] 14: [1];
            half $($half)*
        }
    };
}

/// Defines a vector level's other kernels of blocks.
#[cfg(target_arch = "x86_64")]
macro_rules! blocks {
    ($token:ident, $features:literal, dwconv [$pixels:literal x $vectors:literal]) => {
        #[target_feature(enable = $features)]
        unsafe extern "C" fn dwconv_f32(args: *const DwConvF32Args) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { dwconv::dwconv::<_, $pixels, $vectors>($token::assume(), &*args) }
        }

        #[target_feature(enable = $features)]
        unsafe extern "C" fn pack_b_f32(args: *const PackBF32Args) {
            // SAFETY: as of `exp_sum_f32`.
            unsafe { pack::pack($token::assume(), &*args) }
        }
    };
}

mod portable {
    use super::*;
    use crate::gemm::codes;
    use crate::simd::{Portable, Simd};
    use crate::{dwconv, gemm, math, pack, rows};

    unsafe extern "C" fn gemm_f32(args: *const GemmF32Args) {
        // SAFETY: the caller's promise.
        unsafe { gemm::portable::gemm::<f32>(&*args) }
    }

    unsafe extern "C" fn gemm_bf16(args: *const GemmBf16Args) {
        // SAFETY: the caller's promise.
        unsafe { gemm::portable::gemm::<Bf16>(&*args) }
    }

    unsafe extern "C" fn gemm_i16(args: *const GemmI16Args) {
        // SAFETY: the caller's promise.
        unsafe { gemm::portable::gemm::<i16>(&*args) }
    }

    unsafe extern "C" fn gemm_u8(args: *const GemmU8Args) {
        // SAFETY: the caller's promise.
        unsafe { gemm::portable::gemm::<u8>(&*args) }
    }

    unsafe extern "C" fn dwconv_f32(args: *const DwConvF32Args) {
        // SAFETY: the caller's promise.
        unsafe { dwconv::portable::dwconv(&*args) }
    }

    unsafe extern "C" fn pack_b_f32(args: *const PackBF32Args) {
        // SAFETY: the caller's promise.
        unsafe { pack::pack(Portable, &*args) }
    }

    level!(Portable; gemm_f32 gemm_bf16 gemm_i16 gemm_u8);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use crate::gemm::{Element, codes};
    use crate::simd::{Avx2, Simd};
    use crate::{dwconv, gemm, math, pack, rows};

    gemms! {
        Avx2, "avx2,fma,f16c",
        gemm_f32 f32 GemmF32Args, gemm_bf16 Bf16 GemmBf16Args,
        gemm_i16 i16 GemmI16Args, gemm_u8 u8 GemmU8Args;
        |m| match m { 0..=1 => 4, 2 => 2, _ => 1 },
        |width| match width { 1 => 6, 2 => 2, _ => 1 },
        1: [1 2 3 4] 2: [1 2] 3: [1] 4: [1] 5: [1] 6: [1];
        half |width| (width == 1).then_some(12),
        1: [1] 2: [1] 3: [1] 4: [1] 5: [1] 6: [1] 7: [1] 8: [1] 9: [1] 10: [1] 11: [1] 12: [1]
    }
    blocks!(Avx2, "avx2,fma,f16c", dwconv [3 x 4]);
    level!(Avx2, "avx2,fma,f16c"; gemm_f32 gemm_bf16 gemm_i16 gemm_u8);
}

// Narrow types are the level below's: nearly all CPUs have VNNI where they have this, and tiles
// are most of the runtime's code.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::*;
    use crate::gemm::{Element, codes};
    use crate::simd::{Avx2, Avx512, Simd};
    use crate::{dwconv, gemm, math, pack, rows};

    gemms_512!(
        Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c", gemm_f32 f32 GemmF32Args;
        half |width| match width { 1 => Some(14), 2 => Some(8), 3 => Some(5), _ => None },
        1: [1 3 5] 2: [1 3 5] 3: [1 3 5] 4: [1 3 5] 5: [1 3 5] 6: [1 3] 7: [1 3] 8: [1 3]
        9: [1] 10: [1] 11: [1] 12: [1] 13: [1] 14: [1]
    );
    blocks!(Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c", dwconv [6 x 4]);
    level!(Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"; gemm_f32, avx2);
}

/// Integers only: what else there is, is the level below's.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use super::*;
    use crate::gemm::{self, Element};
    use crate::simd::{Avx2, Avx512Vnni, Simd};

    gemms_512!(
        Avx512Vnni, "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma,f16c",
        gemm_i16 i16 GemmI16Args, gemm_u8 u8 GemmU8Args;
        half |_| None,
    );
    pub(super) static KERNELS: Kernels = Kernels { gemm_i16, gemm_u8, ..avx512::KERNELS };
}

/// Products of 16-bit floats: what else there is, is the level below's.
#[cfg(target_arch = "x86_64")]
mod bf16 {
    use super::*;
    use crate::gemm::{self, Element};
    use crate::simd::{Avx2, Avx512Bf16, Simd};

    gemms_512!(
        Avx512Bf16, "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c",
        gemm_bf16 Bf16 GemmBf16Args;
        half |_| None,
    );
    pub(super) static KERNELS: Kernels = Kernels { gemm_bf16, ..vnni::KERNELS };
}

/// Products by tiles: what else there is, is the level below's.
#[cfg(target_arch = "x86_64")]
mod amx {
    use super::*;
    use crate::gemm::amx;

    macro_rules! by_tiles {
        ($($name:ident $args:ident),*) => {$(
            unsafe extern "C" fn $name(args: *const $args) {
                // SAFETY: the caller's promise; the table hands this out where the process
                // may use AMX.
                unsafe {
                    match amx::suits(&*args) {
                        true => amx::gemm(&*args),
                        false => (bf16::KERNELS.$name)(args),
                    }
                }
            }
        )*};
    }

    by_tiles!(gemm_bf16 GemmBf16Args, gemm_u8 GemmU8Args);
    pub(super) static KERNELS: Kernels = Kernels { gemm_bf16, gemm_u8, ..bf16::KERNELS };
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use crate::gemm::{Element, GemmIsa, Multiply};
    use crate::simd::{Avx2, Avx512, Avx512Bf16, Avx512Vnni};
    use cascata_artifact::abi::Bf16;

    /// Choosing a tile runs no code of its level, so this needs no CPU that has it.
    fn every_tile_exists<S: GemmIsa<Half: Multiply<E>> + Multiply<E>, E: Element>() {
        for width in (1..40).map(S::width).flat_map(|most| 1..=most) {
            for rows in 1..=S::height(width) {
                S::tile::<E>(rows, width);
            }
            for rows in 1..=S::half_height(width).unwrap_or(0) {
                S::half_tile::<E>(rows, width);
            }
        }
    }

    #[test]
    fn tiles_are_there_for_all_heights() {
        every_tile_exists::<Avx2, f32>();
        every_tile_exists::<Avx512, f32>();
        every_tile_exists::<Avx512Vnni, u8>();
        every_tile_exists::<Avx512Bf16, Bf16>();
    }
}
