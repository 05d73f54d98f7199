//! The strings of an artifact's constants, which a run knows by their ids.

use super::Part;
use crate::lower::WeightId;
use cascata_types::{DType, text};
use std::collections::HashMap;

/// The constants' strings, none empty and none twice: number `i` has the id `i + 1`.
#[derive(Default)]
pub(super) struct Strings {
    pub(super) list: Vec<String>,
    ids: HashMap<String, u64>,
}

impl Strings {
    /// The strings of these weights, in their order.
    pub(super) fn of(parts: &[Part], used: &[(usize, WeightId)]) -> Self {
        let mut strings = Strings::default();
        for (part, id) in used {
            let Part { graph, lowering, .. } = &parts[*part];
            let (weight, _, dtype, _) = &lowering.weights.items[*id];
            if *dtype != DType::Str {
                continue;
            }
            for text in text::unpack(&graph.consts[weight.source].data).unwrap_or_default() {
                strings.add(text);
            }
        }
        strings
    }

    fn add(&mut self, text: &str) {
        if !text.is_empty() && !self.ids.contains_key(text) {
            self.list.push(text.to_string());
            self.ids.insert(text.to_string(), self.list.len() as u64);
        }
    }

    /// The ids of packed strings; what is not in the table is the empty string.
    pub(super) fn ids(&self, packed: &[u8]) -> Vec<u8> {
        let id = |t: &str| self.ids.get(t).copied().unwrap_or(0).to_le_bytes();
        text::unpack(packed).unwrap_or_default().into_iter().flat_map(id).collect()
    }
}
