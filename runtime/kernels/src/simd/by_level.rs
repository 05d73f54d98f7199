//! Functions that are compiled once for each level.

/// A function of one argument, compiled for each level.
macro_rules! by_level {
    ($(#[$doc:meta])* $name:ident, $body:ident, $ty:ty) => {
        $(#[$doc])*
        pub fn $name(isa: $crate::Isa, args: $ty) {
            use $crate::simd::Simd;
            use $crate::Isa;
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::simd::{Avx2, Avx512};
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")]
                fn avx512(args: $ty) {
                    // SAFETY: what calls this has seen that the CPU has the level.
                    $body(unsafe { Avx512::assume() }, args)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2(args: $ty) {
                    // SAFETY: as above.
                    $body(unsafe { Avx2::assume() }, args)
                }
                match isa.min(Isa::detect()) {
                    Isa::Portable => {}
                    // SAFETY: the CPU has AVX2 and FMA.
                    Isa::Avx2 => return unsafe { avx2(args) },
                    // SAFETY: the CPU has AVX-512.
                    _ => return unsafe { avx512(args) },
                }
            }
            let _ = isa;
            // SAFETY: every CPU has the level.
            $body(unsafe { $crate::simd::Portable::assume() }, args)
        }
    };
}
pub(crate) use by_level;
