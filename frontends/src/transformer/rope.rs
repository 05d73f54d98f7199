//! Rotary position embedding: frequencies of every variant.
//!
//! Pair `i` of a head turns by `position · f_i` (Su et al. 2021, arXiv 2104.09864). The
//! variants change the frequencies only, and YaRN (Peng et al. 2023, arXiv 2309.00071, §3)
//! the length of the turned pairs too.

use super::config::Config;
use std::f64::consts::TAU;

/// How positions turn heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Elements of a head that turn, the first ones.
    pub dims: i64,
    /// Frequency of pair `i` is `base^(−2i/dims)` before scaling.
    pub base: f64,
    /// How it is stretched for longer contexts.
    pub scaling: Scaling,
}

/// How frequencies are changed for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided.
    Linear(f64),
    /// Long waves divided, short ones kept, a ramp between them.
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// Each divided by a number of its own.
    Factors(Vec<f64>),
    /// A ramp over the pairs, and longer vectors.
    Yarn { factor: f64, original: f64, fast: f64, slow: f64, attention: f64, truncate: bool },
}

impl Rope {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which has both (and may
    /// have a set for each kind of layer, `kind`).
    pub fn read(config: &mut Config, dims: i64, base: f64, kind: &str) -> Rope {
        let base = config.number_or("rope_theta", base);
        let positions = config.index_or("max_position_embeddings", 0) as f64;
        let mut rope = Rope { dims, base, scaling: Scaling::None };
        if dims < 2 || dims % 2 != 0 {
            config.problem(format!("{dims} elements of a head cannot turn in pairs"));
        }
        let name = if config.get("rope_parameters").is_some() {
            "rope_parameters"
        } else {
            "rope_scaling"
        };
        let Some(mut part) = config.object(name) else { return rope };
        if let Some(inner) = part.object(kind) {
            part = inner;
        }
        rope.base = part.number_or("rope_theta", rope.base);
        rope.scaling = Scaling::read(&mut part, positions);
        config.absorb(name, part);
        if rope.base <= 0.0 {
            config.problem(format!("'rope_theta' is {}, must be positive", rope.base));
        }
        rope
    }

    /// Frequencies of the pairs, and what the turned vectors are multiplied by.
    pub fn frequencies(&self) -> (Vec<f64>, f64) {
        let pairs = self.dims / 2;
        let plain = |i: i64| self.base.powf(-2.0 * i as f64 / self.dims as f64);
        let scaled = |i: i64| match &self.scaling {
            Scaling::None => plain(i),
            Scaling::Linear(factor) => plain(i) / factor,
            Scaling::Factors(factors) => plain(i) / factors.get(i as usize).unwrap_or(&1.0),
            Scaling::Llama3 { factor, low, high, original } => {
                let f = plain(i);
                let turns = original * f / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * f / factor + kept * f
            }
            Scaling::Yarn { factor, .. } => {
                let ramp = self.ramp(i);
                plain(i) / factor * ramp + plain(i) * (1.0 - ramp)
            }
        };
        let length =
            if let Scaling::Yarn { attention, .. } = self.scaling { attention } else { 1.0 };
        ((0..pairs).map(scaled).collect(), length)
    }

    /// How much of pair `i` is interpolated: 0 for pairs that turn `fast` times within the
    /// original context, 1 for those that turn fewer than `slow` times.
    fn ramp(&self, i: i64) -> f64 {
        let Scaling::Yarn { original, fast, slow, truncate, .. } = self.scaling else { return 0.0 };
        let pair_of = |turns: f64| {
            self.dims as f64 * (original / (turns * TAU)).ln() / (2.0 * self.base.ln())
        };
        let (mut first, mut last) = (pair_of(fast), pair_of(slow));
        if truncate {
            (first, last) = (first.floor(), last.ceil());
        }
        first = first.max(0.0);
        last = last.min((self.dims - 1) as f64);
        if first == last {
            last += 0.001;
        }
        ((i as f64 - first) / (last - first)).clamp(0.0, 1.0)
    }
}

impl Scaling {
    fn read(part: &mut Config, positions: f64) -> Scaling {
        let name = if part.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind = part.text_or(name, "default");
        if matches!(kind.as_str(), "default" | "none") {
            return Scaling::None;
        }
        if kind == "factors" {
            return Scaling::Factors(part.numbers("factors"));
        }
        let factor = part.optional_number("factor").filter(|f| *f > 0.0);
        let Some(factor) = factor else {
            part.problem(format!("type '{kind}' needs a positive 'factor'"));
            return Scaling::None;
        };
        let original = part.number_or("original_max_position_embeddings", positions);
        match kind.as_str() {
            "linear" => Scaling::Linear(factor),
            "llama3" => Scaling::Llama3 {
                factor,
                low: part.number_or("low_freq_factor", 1.0),
                high: part.number_or("high_freq_factor", 4.0),
                original,
            },
            "yarn" => Scaling::Yarn {
                factor,
                original,
                fast: part.number_or("beta_fast", 32.0),
                slow: part.number_or("beta_slow", 1.0),
                attention: yarn_length(part, factor),
                truncate: part.flag_or("truncate", true),
            },
            other => {
                let known = "default, linear, llama3 and yarn";
                part.problem(format!("type '{other}' is not supported; {known} are"));
                Scaling::None
            }
        }
    }
}

/// What turned vectors are multiplied by, §3.4.
fn yarn_length(part: &mut Config, factor: f64) -> f64 {
    let length = |by: f64| if factor > 1.0 { 0.1 * by * factor.ln() + 1.0 } else { 1.0 };
    let default = match (part.optional_number("mscale"), part.optional_number("mscale_all_dim")) {
        (Some(own), Some(all)) if own != 0.0 && all != 0.0 => length(own) / length(all),
        _ => length(1.0),
    };
    part.number_or("attention_factor", default)
}
