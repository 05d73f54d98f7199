//! Named arrays in `.npz` files.
//!
//! Every numeric dtype, `bool` and strings (NumPy's Unicode arrays, `<U…`: as many UTF-32
//! units for each, zeros at the end); `bf16`, which NumPy lacks, is stored as `ml_dtypes`
//! does: two raw bytes (`|V2`).

use super::exit::FileError;
use cascata::{DType, Tensor, TensorView};
use npyz::{DType as NpyType, NpyHeader, Order, TypeStr, WriteOptions, WriterBuilder};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// Arrays by name, in order.
pub type Arrays = Vec<(String, Tensor)>;

/// Arrays as [`cascata::Session::run`] takes them.
pub fn views(arrays: &Arrays) -> Vec<(&str, TensorView<'_>)> {
    arrays.iter().map(|(name, t)| (name.as_str(), t.view())).collect()
}

/// Reads every array of an archive.
pub fn read(path: &Path) -> Result<Arrays, FileError> {
    let fail = |reason: String| FileError::new("read", path, reason);
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    read_from(BufReader::new(file)).map_err(fail)
}

/// Reads every array of an archive's bytes; the error is the reason.
pub fn read_from(bytes: impl Read + Seek) -> Result<Arrays, String> {
    let mut archive = ZipArchive::new(bytes).map_err(|e| format!("not an .npz archive: {e}"))?;
    let mut arrays = Arrays::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.to_string();
        let Some(name) = npyz::npz::array_name_from_file_name(&name) else { continue };
        let array = array(entry).map_err(|reason| format!("array '{name}': {reason}"))?;
        arrays.push((name.to_string(), array));
    }
    Ok(arrays)
}

/// A header is a line or two; more is refused before it is read.
const MOST_HEADER: usize = 1 << 16;

/// The bytes of an `.npy` header, whose own length is not believed.
fn header_bytes(npy: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut read = |n: usize, into: &mut Vec<u8>| {
        let from = into.len();
        into.resize(from + n, 0);
        npy.read_exact(&mut into[from..]).map_err(|e| e.to_string())
    };
    let mut bytes = Vec::new();
    read(10, &mut bytes)?;
    let mut length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if bytes[6] >= 2 {
        read(2, &mut bytes)?;
        length |= usize::from(u16::from_le_bytes([bytes[10], bytes[11]])) << 16;
    }
    if length > MOST_HEADER {
        return Err(format!("a header of {length} bytes"));
    }
    read(length, &mut bytes)?;
    match nesting(&bytes[10..]) {
        depth if depth > MOST_NESTED => Err(format!("a header with {depth} brackets open at once")),
        _ => Ok(bytes),
    }
}

/// A structured type nests four brackets. The header's parser takes time exponential in them.
const MOST_NESTED: usize = 8;

/// How many brackets of a text are open at once at most.
fn nesting(text: &[u8]) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for c in text {
        match c {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Reads one `.npy` stream.
fn array(mut npy: impl Read) -> Result<Tensor, String> {
    let header = NpyHeader::from_reader(&header_bytes(&mut npy)?[..]).map_err(|e| e.to_string())?;
    let NpyType::Plain(descr) = header.dtype() else {
        return Err("structured arrays are not supported".into());
    };
    let text = descr.to_string();
    let dtype =
        dtype(&text).ok_or_else(|| format!("elements of type '{text}' are not supported"))?;
    let size = dtype.size_bytes().or(units(&text).map(|n| n * UNIT)).unwrap_or(1);
    let dims: Vec<i64> = header.shape().iter().map(|d| i64::try_from(*d).unwrap_or(-1)).collect();
    // One byte more than the shape needs shows that there are too many; an archive may
    // unpack to any number.
    let needs = dims.iter().try_fold(size as u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    let needs = needs.ok_or_else(|| format!("its shape {dims:?} has no size"))?;
    let mut bytes = Vec::new();
    npy.take(needs.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 != needs {
        let found =
            if (bytes.len() as u64) < needs { bytes.len().to_string() } else { "more".into() };
        return Err(format!("it has {found} bytes, its shape needs {needs}"));
    }
    if text.starts_with('>') {
        bytes
            .chunks_exact_mut(if dtype == DType::Str { UNIT } else { size })
            .for_each(<[u8]>::reverse);
    }
    if header.order() == Order::Fortran && dims.len() > 1 {
        bytes = row_major(&bytes, &dims, size).ok_or("its size does not fit its shape")?;
    }
    if dtype == DType::Str {
        return strings(&bytes, &dims, size);
    }
    let mut tensor = Tensor::zeros(dtype, &dims).map_err(|e| e.to_string())?;
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    tensor.bytes_mut().copy_from_slice(&bytes);
    Ok(tensor)
}

/// Bytes of one unit of a Unicode array.
const UNIT: usize = 4;

/// Units of each element of a Unicode array.
fn units(descr: &str) -> Option<usize> {
    let units = descr.trim_start_matches(['<', '>', '|', '=']).strip_prefix('U')?;
    units.parse().ok().filter(|n| (1..=MOST_UNITS).contains(n))
}

/// Longer strings are refused before they are read.
const MOST_UNITS: usize = 1 << 24;

fn strings(bytes: &[u8], dims: &[i64], size: usize) -> Result<Tensor, String> {
    let unit = |b: &[u8]| b.try_into().map_or(0, u32::from_le_bytes);
    let text = |element: &[u8]| {
        let units: Vec<u32> = element.chunks_exact(UNIT).map(unit).collect();
        let end = units.iter().rposition(|u| *u != 0).map_or(0, |i| i + 1);
        let text = units[..end].iter().map(|u| char::from_u32(*u)).collect::<Option<String>>();
        text.ok_or("a string has what is no character")
    };
    let texts: Vec<String> = bytes.chunks_exact(size).map(text).collect::<Result<_, _>>()?;
    Tensor::from_strings(dims, &texts).map_err(|e| e.to_string())
}

/// The row-major copy of column-major elements.
fn row_major(bytes: &[u8], dims: &[i64], size: usize) -> Option<Vec<u8>> {
    let dims: Vec<usize> = dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    if count.checked_mul(size)? != bytes.len() {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len());
    for i in 0..count {
        // Coordinates from the innermost row-major axis outwards.
        let (mut rest, mut at, mut stride) = (i, 0, count);
        for d in dims.iter().rev() {
            stride /= d;
            at += rest % d * stride;
            rest /= d;
        }
        out.extend_from_slice(&bytes[at * size..][..size]);
    }
    Some(out)
}

/// Writes arrays to a new archive, uncompressed as `numpy.savez` does.
pub fn write(path: &Path, arrays: &Arrays) -> Result<(), FileError> {
    let fail = |reason: String| FileError::new("write", path, reason);
    let file = File::create(path).map_err(|e| fail(e.to_string()))?;
    let mut archive = ZipWriter::new(BufWriter::new(file));
    for (name, tensor) in arrays {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(tensor.bytes().len() as u64 >= u64::from(u32::MAX) / 2);
        let entry = npyz::npz::file_name_from_array_name(name);
        archive.start_file(entry, options).map_err(|e| fail(e.to_string()))?;
        write_array(&mut archive, tensor).map_err(|e| fail(format!("array '{name}': {e}")))?;
    }
    let mut file = archive.finish().map_err(|e| fail(e.to_string()))?;
    file.flush().map_err(|e| fail(e.to_string()))
}

fn write_array(mut out: impl Write, tensor: &Tensor) -> Result<(), String> {
    let texts = tensor.strings().unwrap_or_default();
    let units = texts.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(1);
    let descr = descr(tensor.dtype()).map_or(format!("<U{units}"), str::to_string);
    let descr: TypeStr = descr.parse().map_err(|_| format!("'{descr}' is not an array type"))?;
    let shape: Vec<u64> = tensor.dims().iter().map(|d| d.unsigned_abs()).collect();
    let header = WriteOptions::new_header_only().dtype(NpyType::Plain(descr)).shape(&shape);
    header.writer(&mut out).write_header_only().map_err(|e| e.to_string())?;
    if tensor.dtype() != DType::Str {
        return out.write_all(tensor.bytes()).map_err(|e| e.to_string());
    }
    let padded = |t: &&str| -> Vec<u32> {
        t.chars().map(u32::from).chain(std::iter::repeat(0)).take(units).collect()
    };
    let bytes: Vec<u8> = texts.iter().flat_map(padded).flat_map(u32::to_le_bytes).collect();
    out.write_all(&bytes).map_err(|e| e.to_string())
}

/// NumPy's array types, little-endian.
const TYPES: [(&str, DType); 13] = [
    ("|b1", DType::Bool),
    ("|i1", DType::I8),
    ("|u1", DType::U8),
    ("<i2", DType::I16),
    ("<u2", DType::U16),
    ("<i4", DType::I32),
    ("<u4", DType::U32),
    ("<i8", DType::I64),
    ("<u8", DType::U64),
    ("<f2", DType::F16),
    ("|V2", DType::BF16),
    ("<f4", DType::F32),
    ("<f8", DType::F64),
];

fn dtype(descr: &str) -> Option<DType> {
    if units(descr).is_some() {
        return Some(DType::Str);
    }
    let kind = |text: &str| text.trim_start_matches(['<', '>', '|', '=']).to_string();
    TYPES.iter().find(|(text, _)| kind(text) == kind(descr)).map(|(_, dtype)| *dtype)
}

fn descr(dtype: DType) -> Option<&'static str> {
    TYPES.iter().find(|(_, d)| *d == dtype).map(|(text, _)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.npz");
        let mut arrays = Arrays::new();
        for (i, (_, dtype)) in TYPES.iter().enumerate() {
            let mut tensor = Tensor::zeros(*dtype, &[2, 3]).unwrap();
            let fill = |(k, b): (usize, &mut u8)| {
                *b = if *dtype == DType::Bool { k as u8 % 2 } else { (k + i) as u8 }
            };
            tensor.bytes_mut().iter_mut().enumerate().for_each(fill);
            arrays.push((format!("some/{dtype}:0"), tensor));
        }
        arrays.push(("scalar".into(), Tensor::from_slice(&[], &[7.5f64]).unwrap()));
        let texts = Tensor::from_strings(&[2, 2], &["", "a b", "漢字", "é"]).unwrap();
        arrays.push(("texts".into(), texts));
        arrays.push(("no texts".into(), Tensor::from_strings::<&str>(&[0, 3], &[]).unwrap()));
        arrays.push(("empty".into(), Tensor::zeros(DType::I64, &[3, 0]).unwrap()));
        write(&path, &arrays).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back.len(), arrays.len());
        for ((name, a), (name_back, b)) in arrays.iter().zip(&back) {
            assert_eq!(
                (name, a.dtype(), a.dims(), a.bytes()),
                (name_back, b.dtype(), b.dims(), b.bytes())
            );
        }
    }

    #[test]
    fn column_major_becomes_row_major() {
        // [[1, 2, 3], [4, 5, 6]] by columns.
        assert_eq!(row_major(&[1, 4, 2, 5, 3, 6], &[2, 3], 1).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert!(row_major(&[], &[2, 0], 4).unwrap().is_empty());
        assert!(row_major(&[1], &[2, 3], 1).is_none());
    }

    #[test]
    fn big_endian_is_swapped() {
        let mut npy = Vec::new();
        let options = WriteOptions::new_header_only()
            .dtype(NpyType::Plain(">i4".parse().unwrap()))
            .shape(&[2]);
        options.writer(&mut npy).write_header_only().unwrap();
        npy.extend([0, 0, 0, 1, 0, 0, 1, 0]);
        assert_eq!(array(&npy[..]).unwrap().as_slice::<i32>().unwrap(), [1, 256]);
    }

    #[test]
    fn damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.npz");
        std::fs::write(&path, b"PK\x03\x04 not really").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("bad.npz"));
        assert!(array(&b"\x93NUMPY"[..]).is_err());
    }
}
