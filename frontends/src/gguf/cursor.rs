//! Reading little-endian numbers and strings without leaving the file.

/// A position in a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let n = usize::try_from(n).ok().filter(|n| *n <= rest.len());
        let n = n.ok_or_else(|| format!("the file ends at byte {} too early", self.bytes.len()))?;
        self.at += n;
        Ok(&rest[..n])
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| "the file ends too early".to_string())
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and as many bytes of UTF-8.
    pub fn string(&mut self) -> Result<String, String> {
        let at = self.at;
        let length = self.u64()?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes);
        Ok(text.map_err(|_| format!("the string at byte {at} is not UTF-8"))?.to_string())
    }

    /// Refuses a count that the rest of the file cannot hold.
    pub fn room_for(&self, count: u64, least_bytes: u64, what: &str) -> Result<(), String> {
        let rest = (self.bytes.len() - self.at) as u64;
        match count.checked_mul(least_bytes).is_some_and(|n| n <= rest) {
            true => Ok(()),
            false => Err(format!("{count} {what} do not fit {rest} bytes")),
        }
    }
}
