//! Metadata values.

use super::cursor::Cursor;

/// A metadata value; numbers are widened.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any float.
    Float(f64),
    /// A bool.
    Bool(bool),
    /// A string.
    Text(String),
    /// Values of one type; never arrays.
    Array(Vec<Value>),
}

/// Code of an array's type.
const ARRAY: u32 = 9;

impl Value {
    pub(super) fn read(cursor: &mut Cursor) -> Result<Value, String> {
        let code = cursor.u32()?;
        if code != ARRAY {
            return Self::scalar(cursor, code);
        }
        let (code, count) = (cursor.u32()?, cursor.u64()?);
        if code == ARRAY {
            return Err("arrays of arrays are not supported".into());
        }
        cursor.room_for(count, least_bytes(code), "elements")?;
        (0..count).map(|_| Self::scalar(cursor, code)).collect::<Result<_, _>>().map(Value::Array)
    }

    fn scalar(cursor: &mut Cursor, code: u32) -> Result<Value, String> {
        Ok(match code {
            0 => Value::Unsigned(u8::from_le_bytes(cursor.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(cursor.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(cursor.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(cursor.array()?).into()),
            4 => Value::Unsigned(cursor.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(cursor.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
            7 => match u8::from_le_bytes(cursor.array()?) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("{other} is not a bool")),
            },
            8 => Value::Text(cursor.string()?),
            10 => Value::Unsigned(cursor.u64()?),
            11 => Value::Signed(i64::from_le_bytes(cursor.array()?)),
            12 => Value::Float(f64::from_le_bytes(cursor.array()?)),
            other => return Err(format!("value type {other} does not exist")),
        })
    }

    /// A number that is not negative and whole.
    pub fn size(&self) -> Option<u64> {
        match self {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Any number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Unsigned(n) => Some(*n as f64),
            Value::Signed(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }
}

fn least_bytes(code: u32) -> u64 {
    match code {
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        _ => 1,
    }
}
