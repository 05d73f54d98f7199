//! Dims as data: a constant is a plain number, anything else the list of its terms.
//!
//! Most dims of a manifest are constants, so this is most of what loading parses.

use super::{Dim, Monomial};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_const() {
            Some(number) => serializer.serialize_i64(number),
            None => self.terms.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DimVisitor)
    }
}

struct DimVisitor;

impl<'de> Visitor<'de> for DimVisitor {
    type Value = Dim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or a list of terms")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Dim, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Dim, E> {
        i64::try_from(number)
            .map(Dim::from)
            .map_err(|_| E::custom(format!("{number} does not fit a dim (64 bits, signed)")))
    }

    /// The terms may come from anywhere: they are brought into normal form again.
    fn visit_seq<A: SeqAccess<'de>>(self, mut terms: A) -> Result<Dim, A::Error> {
        let mut all: Vec<(Monomial, i64)> = Vec::new();
        while let Some(term) = terms.next_element()? {
            all.push(term);
        }
        Ok(Dim::from_terms(all))
    }
}
