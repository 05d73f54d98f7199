//! Memory of exactly the size that a kernel may touch.

use std::ops::{Deref, DerefMut};

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// It ends at an unmapped page: an access past the end crashes the test.
    AtGuard,
    /// It starts at a multiple of 64 bytes.
    Aligned,
}

/// Some numbers.
pub struct Buffer<T = f32> {
    base: *mut libc::c_void,
    mapped_bytes: usize,
    data: *mut T,
    len: usize,
}

impl<T: Copy> Buffer<T> {
    /// A buffer that holds `values`.
    pub fn new(place: Place, values: &[T]) -> Self {
        const PAGE: usize = 4096;
        let bytes = size_of_val(values);
        let usable = bytes.next_multiple_of(PAGE);
        let mapped_bytes = usable + PAGE;
        let offset = if place == Place::AtGuard { usable - bytes } else { 0 };
        // SAFETY: a fresh anonymous mapping, whose last page becomes inaccessible; the
        // values fit before it.
        unsafe {
            let (rw, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let base = libc::mmap(std::ptr::null_mut(), mapped_bytes, rw, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base.byte_add(usable), PAGE, libc::PROT_NONE), 0);
            let data = base.byte_add(offset).cast::<T>();
            data.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Buffer { base, mapped_bytes, data, len: values.len() }
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `new` mapped and wrote them.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as of `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        unsafe { libc::munmap(self.base, self.mapped_bytes) };
    }
}
