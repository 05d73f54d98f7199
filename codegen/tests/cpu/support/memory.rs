//! Memory of exactly the size that a kernel may touch.

const PAGE: usize = 4096;

/// Where the bytes lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// They end at an unmapped page: an access past the end crashes the test.
    End,
    /// They start after an unmapped page, on its boundary.
    Start,
}

/// Some bytes between unmapped pages.
pub struct Guarded {
    base: *mut libc::c_void,
    mapped_bytes: usize,
    data: *mut u8,
    len: usize,
}

impl Guarded {
    /// Maps memory that holds `bytes`.
    pub fn new(edge: Edge, bytes: &[u8]) -> Guarded {
        let usable = bytes.len().next_multiple_of(PAGE);
        let mapped_bytes = usable + 2 * PAGE;
        let offset = PAGE + if edge == Edge::End { usable - bytes.len() } else { 0 };
        // SAFETY: a fresh anonymous mapping, whose outer pages become inaccessible; the
        // bytes fit between.
        unsafe {
            let (rw, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let base = libc::mmap(std::ptr::null_mut(), mapped_bytes, rw, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base, PAGE, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(base.byte_add(PAGE + usable), PAGE, libc::PROT_NONE), 0);
            let data = base.byte_add(offset).cast::<u8>();
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Guarded { base, mapped_bytes, data, len: bytes.len() }
        }
    }

    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.data
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `new` mapped and wrote them.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        unsafe { libc::munmap(self.base, self.mapped_bytes) };
    }
}
