//! What a request asks for.

use crate::error::RequestError;

/// How tokens are chosen. In this order: penalties, temperature, top-k, top-p over what top-k
/// leaves, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the largest one, and of equals the lowest id.
    pub temperature: f32,
    /// Keeps this many of the largest logits; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest tokens whose probabilities sum to this.
    pub top_p: f32,
    /// Keeps tokens with at least this share of the largest probability.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens in the sequence,
    /// prompt included.
    pub repetition_penalty: f32,
    /// Subtracted from logits of tokens that were generated.
    pub presence_penalty: f32,
    /// Subtracted once for each time that a token was generated.
    pub frequency_penalty: f32,
    /// With it, the sample's number and the token's number, the random numbers are fixed.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

/// A request without its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// New tokens of each sample at most.
    pub max_tokens: u32,
    /// How many continuations of the prompt; its keys and values are shared.
    pub samples: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens that end a sample, beside the engine's; they are no part of the text.
    pub stop_tokens: Vec<u32>,
    /// Goes on after the engine's end tokens.
    pub ignore_eos: bool,
    /// Text that ends a sample, wherever tokens begin or end; it is no part of the text.
    pub stop_strings: Vec<String>,
    /// Log-probabilities by the model, before penalties and temperature: of each chosen
    /// token, and of this many likeliest ones.
    pub log_probs: Option<u32>,
    /// Leaves special tokens out of the text.
    pub skip_special_tokens: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            samples: 1,
            sampling: Sampling::default(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            stop_strings: Vec::new(),
            log_probs: None,
            skip_special_tokens: true,
        }
    }
}

/// The most log-probabilities for one token.
const MOST_LOG_PROBS: u32 = 64;

/// The most stop strings, and bytes of one: every new token is compared with all of them.
const MOST_STOPS: usize = 64;
const LONGEST_STOP_BYTES: usize = 1024;

impl Params {
    /// Checks every range.
    ///
    /// # Errors
    /// The first parameter that is outside of its range.
    pub fn check(&self, max_samples: usize) -> Result<(), RequestError> {
        let s = &self.sampling;
        let finite = |x: f32| x.is_finite();
        let samples = 1..=max_samples;
        within("max_tokens", self.max_tokens, self.max_tokens > 0, "above 0")?;
        let fits = samples.contains(&(self.samples as usize));
        within("samples", self.samples, fits, &format!("in 1..={max_samples}, max_sequences"))?;
        let heat = s.temperature;
        within("temperature", heat, finite(heat) && heat >= 0.0, "finite and not negative")?;
        within("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "above 0 and at most 1")?;
        within("min_p", s.min_p, (0.0..=1.0).contains(&s.min_p), "in 0..=1")?;
        let repetition = s.repetition_penalty;
        let good = finite(repetition) && repetition > 0.0;
        within("repetition_penalty", repetition, good, "finite and above 0")?;
        within("presence_penalty", s.presence_penalty, finite(s.presence_penalty), "finite")?;
        within("frequency_penalty", s.frequency_penalty, finite(s.frequency_penalty), "finite")?;
        let log_probs = self.log_probs.unwrap_or(0);
        within("log_probs", log_probs, log_probs <= MOST_LOG_PROBS, "at most 64")?;
        let stops = &self.stop_strings;
        within("stop_strings", stops.len(), stops.len() <= MOST_STOPS, "at most 64 strings")?;
        let bad = stops.iter().find(|s| s.is_empty() || s.len() > LONGEST_STOP_BYTES);
        let length = bad.map_or(0, String::len);
        within("stop_strings", length, bad.is_none(), "strings of 1 to 1024 bytes")
    }
}

fn within(
    name: &'static str,
    value: impl ToString,
    good: bool,
    expected: &str,
) -> Result<(), RequestError> {
    let error = || RequestError::Parameter {
        name,
        value: value.to_string(),
        expected: expected.to_string(),
    };
    good.then_some(()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(Params::default().check(1), Ok(()));
    }

    #[test]
    fn each_bad_parameter_is_named() {
        type Spoil = fn(&mut Params);
        let cases: &[(&str, Spoil)] = &[
            ("max_tokens", |p| p.max_tokens = 0),
            ("samples", |p| p.samples = 5),
            ("samples", |p| p.samples = 0),
            ("temperature", |p| p.sampling.temperature = -0.1),
            ("temperature", |p| p.sampling.temperature = f32::NAN),
            ("top_p", |p| p.sampling.top_p = 0.0),
            ("min_p", |p| p.sampling.min_p = 1.5),
            ("repetition_penalty", |p| p.sampling.repetition_penalty = 0.0),
            ("presence_penalty", |p| p.sampling.presence_penalty = f32::INFINITY),
            ("frequency_penalty", |p| p.sampling.frequency_penalty = f32::NAN),
            ("log_probs", |p| p.log_probs = Some(65)),
            ("stop_strings", |p| p.stop_strings.push(String::new())),
            ("stop_strings", |p| p.stop_strings.push("x".repeat(1025))),
            ("stop_strings", |p| p.stop_strings = vec!["x".into(); 65]),
        ];
        for (want, spoil) in cases {
            let mut params = Params::default();
            spoil(&mut params);
            let error = params.check(4).unwrap_err();
            assert!(
                matches!(&error, RequestError::Parameter { name, .. } if name == want),
                "{error}"
            );
        }
    }
}
