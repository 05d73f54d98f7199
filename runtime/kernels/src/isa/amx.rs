//! Whether this process may use AMX: the kernel grants its large state when it is asked.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Bits of `cpuid(7).edx`.
const TILE: u32 = 1 << 24;
const INT8: u32 = 1 << 25;
const BF16: u32 = 1 << 22;

/// Whether the CPU has AMX-INT8 and AMX-BF16 and the kernel lets this process use it; asks once.
pub(super) fn is_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| is_there() && is_granted())
}

fn is_there() -> bool {
    if __cpuid(0).eax < 7 {
        return false;
    }
    const ALL: u32 = TILE | INT8 | BF16;
    __cpuid_count(7, 0).edx & ALL == ALL
}

/// Asks for the state of the tiles, for all threads.
#[cfg(target_os = "linux")]
fn is_granted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` and `XFEATURE_XTILEDATA` of Linux' `asm/prctl.h`.
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call only grants this process a larger state.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_granted() -> bool {
    false
}
