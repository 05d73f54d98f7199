//! Stop strings, wherever tokens begin or end.
//!
//! Text that may be the beginning of a stop string is held back until it is decided.

/// Finds the earliest stop string in a text that comes in pieces.
#[derive(Clone, Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Text that is certainly before any stop string.
    pub(crate) text: String,
    /// The stop string that was found, if one was.
    pub(crate) stop: Option<String>,
}

impl StopMatcher {
    pub(crate) fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
    }

    /// Adds a piece of text.
    pub(crate) fn push(&mut self, piece: &str) -> Matched {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|s| self.held.find(s.as_str()).map(|at| (at, s)));
        // Of stop strings at one place, the longest: the result depends on the text alone.
        if let Some((at, stop)) = found.min_by_key(|(at, s)| (*at, std::cmp::Reverse(s.len()))) {
            let stop = Some(stop.clone());
            self.held.truncate(at);
            return Matched { text: std::mem::take(&mut self.held), stop };
        }
        let keep = self.undecided();
        let rest = self.held.split_off(self.held.len() - keep);
        Matched { text: std::mem::replace(&mut self.held, rest), stop: None }
    }

    /// Bytes at the end that may be the beginning of a stop string.
    fn undecided(&self) -> usize {
        let starts = |n: &usize| {
            let at = self.held.len() - n;
            self.held.is_char_boundary(at)
                && self.stops.iter().any(|s| s.as_bytes().starts_with(&self.held.as_bytes()[at..]))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        (1..=longest.min(self.held.len())).rev().find(starts).unwrap_or(0)
    }

    /// What was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    fn feed(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let (mut matcher, mut text) = (matcher(stops), String::new());
        for piece in pieces {
            let matched = matcher.push(piece);
            text += &matched.text;
            if matched.stop.is_some() {
                return (text, matched.stop);
            }
        }
        (text + &matcher.finish(), None)
    }

    #[test]
    fn a_stop_string_across_pieces_is_found() {
        let stop = |s: &str| Some(s.to_string());
        assert_eq!(feed(&["END"], &["a E", "N", "D b"]), ("a ".into(), stop("END")));
        assert_eq!(feed(&["END"], &["a E", "N", "d"]), ("a ENd".into(), None));
        assert_eq!(feed(&["aab"], &["aa", "ab"]), ("a".into(), stop("aab")));
        assert_eq!(feed(&["x", "xy"], &["wxy"]), ("w".into(), stop("xy")));
        assert_eq!(feed(&[], &["abc"]), ("abc".into(), None));
    }

    #[test]
    fn only_what_is_undecided_is_held() {
        let mut matcher = matcher(&["\u{e9}nd"]);
        assert_eq!(matcher.push("abc\u{e9}").text, "abc");
        assert_eq!(matcher.push("x").text, "\u{e9}x");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\u{e9}]{0,24}", cuts in prop::collection::vec(0..24usize, 0..6)) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (chars.len() + 1)).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| chars[w[0]..w[1]].iter().collect::<String>());
            let pieces: Vec<String> = pieces.collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops = ["aab", "b\u{e9}"];
            let first = stops.iter().filter_map(|s| text.find(s)).min();
            let (found, stop) = feed(&stops, &pieces);
            prop_assert_eq!(stop.is_some(), first.is_some());
            prop_assert_eq!(found, text[..first.unwrap_or(text.len())].to_string());
        }
    }
}
