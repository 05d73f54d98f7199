//! The vector operations that kernels are written in.
//!
//! A value of a [`Simd`] type is a token: it exists only where the CPU has the
//! level's instructions ([`Simd::assume`] is the one unsafe step), so arithmetic on
//! it is safe; only loads and stores are not. Kernels are generic `#[inline(always)]`
//! functions over the token, stamped out under `#[target_feature]` in `entries.rs`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod by_level;
#[cfg(target_arch = "x86_64")]
mod multiply;
mod portable;
mod unpack;

pub(crate) use by_level::by_level;
pub(crate) use portable::Portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
/// Token of [`Isa::Avx512`](crate::Isa::Avx512).
#[cfg(target_arch = "x86_64")]
pub(crate) type Avx512 = avx512::Vector512<0>;
/// Token of [`Isa::Avx512Vnni`](crate::Isa::Avx512Vnni).
#[cfg(target_arch = "x86_64")]
pub(crate) type Avx512Vnni = avx512::Vector512<1>;
/// Token of [`Isa::Avx512Bf16`](crate::Isa::Avx512Bf16).
#[cfg(target_arch = "x86_64")]
pub(crate) type Avx512Bf16 = avx512::Vector512<2>;

/// Vectors of [`LANES`](Simd::LANES) f32 and masks over them.
pub(crate) trait Simd: Copy {
    /// A vector.
    type F: Copy;
    /// A mask: one truth value per lane.
    type M: Copy;
    /// Number of f32 in a vector.
    const LANES: usize;
    /// Loads and stores of some lanes cost what those of all do.
    const FREE_MASKS: bool;

    /// The token.
    ///
    /// # Safety
    /// The CPU has the level's instructions.
    unsafe fn assume() -> Self;

    /// # Safety
    /// `p[..LANES]` is readable.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// The first `n <= LANES` elements, zero in the other lanes.
    ///
    /// # Safety
    /// `p[..n]` is readable; nothing beyond is touched.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `p[..LANES]` is writable.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// Stores the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `p[..n]` is writable; nothing beyond is touched.
    unsafe fn store_first(self, p: *mut f32, v: Self::F, n: usize);

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a·b + c`, fused where the level has FMA.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c − a·b`, fused where the level has FMA.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller one; `b` if either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger one; `b` if either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// `magnitude` (which is not negative) with the sign bit of `sign`.
    fn with_sign(self, magnitude: Self::F, sign: Self::F) -> Self::F;
    /// To the nearest integer, ties to even, for `|a| < 2^22`.
    fn round(self, a: Self::F) -> Self::F;
    /// `v·2^n` for integral `n` in `-252..=254`, rounded once; NaN if `v` is.
    fn ldexp(self, v: Self::F, n: Self::F) -> Self::F;
    /// `2^n` for integral `n` in `-126..=127`, infinite at 128.
    fn pow2(self, n: Self::F) -> Self::F;
    /// `(m, e)` with `v = m·2^e` and `m` in `[√½, √2)`, for normal finite `v > 0`.
    fn split(self, v: Self::F) -> (Self::F, Self::F);

    /// The first `n <= LANES` lanes.
    fn first(self, n: usize) -> Self::M;
    /// Lanes of `a < b`; false for NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// Lanes where `a` or `b` is NaN.
    fn unordered(self, a: Self::F, b: Self::F) -> Self::M;
    fn or(self, a: Self::M, b: Self::M) -> Self::M;
    fn any(self, m: Self::M) -> bool;
    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// The lanes' sum, as a tree of halves.
    fn reduce_add(self, v: Self::F) -> f32;
    /// The lanes' maximum, where no lane is NaN.
    fn reduce_max(self, v: Self::F) -> f32;
}

/// `c[0] + c[1]·x + …` by Horner's scheme.
#[inline(always)]
pub(crate) fn horner<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// The mantissa bits of [`Simd::split`]'s lower bound, √½.
pub(crate) const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
