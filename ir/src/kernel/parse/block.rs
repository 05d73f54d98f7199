//! Micro-kernel calls: `gemm { a: rows(%x[0], K, 0), b: … }`, fields in any order.

use super::attention::PLACES;
use super::{ParseError, Parser};
use crate::kernel::print::no_clamp;
use crate::kernel::{DwConv, Gemm, PackB, Place, Rows, Scales, Stmt};
use cascata_types::{Dim, Scalar};

/// More than any call has.
const MAX_FIELDS: usize = 32;

/// What a field holds.
enum Value {
    Rows(Rows),
    Place(Place),
    Dim(Dim),
    Flag(bool),
    Clamp(Scalar, Scalar),
    Scalar(Scalar),
}

/// The fields of one call that are not taken yet.
pub(super) struct Fields<'a> {
    keyword: &'static str,
    /// Where the call starts.
    at: usize,
    fields: Vec<(&'a str, Value)>,
}

impl<'a> Parser<'a> {
    pub(super) fn gemm(&mut self) -> Result<Stmt, ParseError> {
        let f = &mut self.fields("gemm")?;
        let gemm = Gemm {
            a: self.take_rows(f, "a")?,
            a_zero: self.take_optional(f, "a_zero")?,
            b: self.take_place(f, "b")?,
            scales: self.take_scales(f)?,
            b_panel_stride: self.take_dim(f, "b_panel_stride")?,
            b_batch_stride: self.take_dim(f, "b_batch_stride")?,
            c: self.take_place(f, "c")?,
            c_row_stride: self.take_dim(f, "c_row_stride")?,
            bias: self.take_optional(f, "bias")?,
            m: self.take_dim(f, "m")?,
            n: self.take_dim(f, "n")?,
            k: self.take_dim(f, "k")?,
            k_last: self.take_dim(f, "k_last")?,
            batch: self.take_dim(f, "batch")?,
            accumulate: self.take_accumulate(f)?,
            clamp: self.take_clamp(f)?,
        };
        self.end(f)?;
        Ok(Stmt::Gemm(Box::new(gemm)))
    }

    pub(super) fn dw_conv(&mut self) -> Result<Stmt, ParseError> {
        let f = &mut self.fields("dwconv")?;
        let conv = DwConv {
            base: self.take_place(f, "base")?,
            offsets: self.take_place(f, "offsets")?,
            w: self.take_place(f, "w")?,
            w_stride: self.take_dim(f, "w_stride")?,
            bias: self.take_optional(f, "bias")?,
            c: self.take_place(f, "c")?,
            c_row_stride: self.take_dim(f, "c_row_stride")?,
            m: self.take_dim(f, "m")?,
            channels: self.take_dim(f, "channels")?,
            taps: self.take_dim(f, "taps")?,
            clamp: self.take_clamp(f)?,
        };
        self.end(f)?;
        Ok(Stmt::DwConv(Box::new(conv)))
    }

    pub(super) fn pack_b(&mut self) -> Result<Stmt, ParseError> {
        let f = &mut self.fields("pack_b")?;
        let pack = PackB {
            src: self.take_place(f, "src")?,
            row_stride: self.take_dim(f, "row_stride")?,
            col_stride: self.take_dim(f, "col_stride")?,
            dst: self.take_place(f, "dst")?,
            panel_stride: self.take_dim(f, "panel_stride")?,
            k: self.take_dim(f, "k")?,
            n: self.take_dim(f, "n")?,
        };
        self.end(f)?;
        Ok(Stmt::PackB(Box::new(pack)))
    }

    pub(super) fn fields(&mut self, keyword: &'static str) -> Result<Fields<'a>, ParseError> {
        let at = self.at;
        let mut fields: Vec<(&str, Value)> = Vec::new();
        self.expect("{")?;
        while !self.at_sign("}") && fields.len() < MAX_FIELDS {
            let name_at = self.at;
            let name = self.word("a field")?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(self.lexer.error(name_at, &format!("field '{name}' is given twice")));
            }
            self.expect(":")?;
            fields.push((name, self.field_value(keyword, name)?));
            if !self.eat(",")? {
                break;
            }
        }
        self.expect("}")?;
        Ok(Fields { keyword, at, fields })
    }

    fn field_value(&mut self, keyword: &str, name: &str) -> Result<Value, ParseError> {
        Ok(match (keyword, name) {
            ("gemm", "a") => Value::Rows(self.rows()?),
            ("tile_attention", name) if PLACES.contains(&name) => Value::Place(self.place()?),
            ("tile_attention", "scale") => Value::Scalar(self.scalar()?),
            ("tile_attention", "ahead" | "wgmma") => Value::Flag(self.flag()?),
            ("tile_gemm", "a") => Value::Place(self.place()?),
            ("gemm", "scales") => Value::Place(self.place()?),
            ("gemm", "scales_offsets") => Value::Flag(self.flag()?),
            (_, "base" | "offsets" | "a_zero" | "b" | "c" | "w" | "bias" | "src" | "dst") => {
                Value::Place(self.place()?)
            }
            (_, "accumulate") => Value::Flag(self.flag()?),
            (_, "clamp") => {
                self.expect("[")?;
                let min = self.scalar()?;
                self.expect(",")?;
                let max = self.scalar()?;
                self.expect("]")?;
                Value::Clamp(min, max)
            }
            _ => Value::Dim(self.dim()?),
        })
    }

    fn flag(&mut self) -> Result<bool, ParseError> {
        if self.eat_word("true")? {
            return Ok(true);
        }
        self.expect_word("false")?;
        Ok(false)
    }

    fn rows(&mut self) -> Result<Rows, ParseError> {
        if self.eat_word("indirect")? {
            self.expect("(")?;
            let base = self.place()?;
            self.expect(",")?;
            let offsets = self.place()?;
            self.expect(")")?;
            return Ok(Rows::Indirect { base, offsets });
        }
        self.expect_word("rows")?;
        self.expect("(")?;
        let base = self.place()?;
        self.expect(",")?;
        let row_stride = self.dim()?;
        self.expect(",")?;
        let batch_stride = self.dim()?;
        self.expect(")")?;
        Ok(Rows::Strided { base, row_stride, batch_stride })
    }

    fn missing(&self, f: &Fields, name: &str) -> ParseError {
        self.lexer.error(f.at, &format!("this {} needs a field '{name}'", f.keyword))
    }

    fn take_rows(&self, f: &mut Fields, name: &str) -> Result<Rows, ParseError> {
        match f.take(name) {
            Some(Value::Rows(rows)) => Ok(rows),
            _ => Err(self.missing(f, name)),
        }
    }

    fn take_scales(&self, f: &mut Fields) -> Result<Option<Scales>, ParseError> {
        let Some(place) = self.take_optional(f, "scales")? else { return Ok(None) };
        Ok(Some(Scales {
            place,
            panel_stride: self.take_dim(f, "scales_panel_stride")?,
            group: self.take_count(f, "scales_group")?,
            zero: self.take_count(f, "codes_zero")?,
            offsets: self.take_flag(f, "scales_offsets")?,
        }))
    }

    pub(super) fn take_place(&self, f: &mut Fields, name: &str) -> Result<Place, ParseError> {
        match f.take(name) {
            Some(Value::Place(place)) => Ok(place),
            _ => Err(self.missing(f, name)),
        }
    }

    pub(super) fn take_dim(&self, f: &mut Fields, name: &str) -> Result<Dim, ParseError> {
        match f.take(name) {
            Some(Value::Dim(dim)) => Ok(dim),
            _ => Err(self.missing(f, name)),
        }
    }

    pub(super) fn take_optional(
        &self,
        f: &mut Fields,
        name: &str,
    ) -> Result<Option<Place>, ParseError> {
        match f.take(name) {
            Some(Value::Place(place)) => Ok(Some(place)),
            None => Ok(None),
            Some(_) => Err(self.missing(f, name)),
        }
    }

    fn take_accumulate(&self, f: &mut Fields) -> Result<bool, ParseError> {
        match f.take("accumulate") {
            Some(Value::Flag(flag)) => Ok(flag),
            None => Ok(false),
            Some(_) => Err(self.missing(f, "accumulate")),
        }
    }

    pub(super) fn take_clamp(&self, f: &mut Fields) -> Result<(Scalar, Scalar), ParseError> {
        match f.take("clamp") {
            Some(Value::Clamp(min, max)) => Ok((min, max)),
            None => Ok(no_clamp()),
            Some(_) => Err(self.missing(f, "clamp")),
        }
    }

    pub(super) fn take_scalar(&self, f: &mut Fields, name: &str) -> Result<Scalar, ParseError> {
        match f.take(name) {
            Some(Value::Scalar(x)) => Ok(x),
            _ => Err(self.missing(f, name)),
        }
    }

    pub(super) fn take_flag(&self, f: &mut Fields, name: &str) -> Result<bool, ParseError> {
        match f.take(name) {
            Some(Value::Flag(flag)) => Ok(flag),
            _ => Err(self.missing(f, name)),
        }
    }

    /// A number that does not depend on symbols.
    pub(super) fn take_count(&self, f: &mut Fields, name: &str) -> Result<u32, ParseError> {
        let number = self.take_dim(f, name)?.as_const().and_then(|n| u32::try_from(n).ok());
        let message = format!("'{name}' is a number, 0 or more");
        number.ok_or_else(|| self.lexer.error(f.at, &message))
    }

    pub(super) fn end(&self, f: &Fields) -> Result<(), ParseError> {
        match f.fields.first() {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("{} has no field '{name}'", f.keyword);
                Err(self.lexer.error(f.at, &message))
            }
        }
    }
}

impl Fields<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == name)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(known, _)| *known == name)?;
        Some(self.fields.remove(at).1)
    }
}
