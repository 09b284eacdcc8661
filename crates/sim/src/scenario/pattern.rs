//! Sentences against patterns: how a scenario's prose becomes words with a meaning.
//!
//! A pattern is a sentence with holes: `{nodes}`, `{node}`, `{number}`, `{time}`, `{key}`, and
//! words with alternatives (`crash|crashes`). Matching is by whole words; commas are ignored.

use crate::queue::{MILLI, Nanos, SECOND};

/// What filled the holes of a pattern, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes {
    /// Filled `{node}` and `{nodes}`.
    pub(super) nodes: Vec<Vec<usize>>,
    /// Filled `{number}` and `{time}`.
    pub(super) numbers: Vec<u64>,
    /// Filled `{key}`.
    pub(super) keys: Vec<u8>,
    /// Filled `{word}`.
    pub(super) words: Vec<String>,
}

impl Holes {
    /// The single node in the hole at `position`.
    pub(super) fn node(&self, position: usize) -> usize {
        self.nodes[position][0]
    }
}

fn node(word: &str) -> Option<usize> {
    let word = word.strip_suffix("'s").unwrap_or(word);
    match word.as_bytes() {
        [letter @ b'a'..=b'i'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

fn key(word: &str) -> Option<u8> {
    match word.as_bytes() {
        [letter @ b'p'..=b'z'] => Some(letter - b'p'),
        _ => None,
    }
}

fn time(number: u64, unit: &str) -> Option<Nanos> {
    match unit {
        "ms" => Some(number * MILLI),
        "s" => Some(number * SECOND),
        _ => None,
    }
}

/// Takes a list of nodes (`a`, `a and b`, `a b and c`, `everybody`) from the front of `words`.
fn take_nodes<'w, 's>(
    words: &'w [&'s str],
    everybody: usize,
) -> Option<(Vec<usize>, &'w [&'s str])> {
    if let [word, rest @ ..] = words
        && ["everybody", "everyone"].contains(word)
    {
        return Some(((0..everybody).collect(), rest));
    }
    let mut nodes = Vec::new();
    let mut rest = words;
    loop {
        match rest {
            [word, after @ ..] if node(word).is_some() => {
                nodes.extend(node(word));
                rest = after;
            }
            ["and", word, ..] if !nodes.is_empty() && node(word).is_some() => rest = &rest[1..],
            _ => break,
        }
    }
    (!nodes.is_empty()).then_some((nodes, rest))
}

/// Splits a sentence into lower-case words.
pub(super) fn words(sentence: &str) -> Vec<String> {
    sentence
        .split_whitespace()
        .map(|word| word.trim_matches([',', '"']).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Matches a whole sentence; `everybody` is the number of nodes that this word means.
pub(super) fn matches(pattern: &str, sentence: &[&str], everybody: usize) -> Option<Holes> {
    let mut holes = Holes::default();
    let mut rest = sentence;
    for part in pattern.split_whitespace() {
        match part {
            "{nodes}" => {
                let (nodes, after) = take_nodes(rest, everybody)?;
                holes.nodes.push(nodes);
                rest = after;
                continue;
            }
            "{time}" => {
                let [number, unit, after @ ..] = rest else {
                    return None;
                };
                holes.numbers.push(time(number.parse().ok()?, unit)?);
                rest = after;
                continue;
            }
            _ => {}
        }
        let [word, after @ ..] = rest else {
            return None;
        };
        match part {
            "{node}" => holes.nodes.push(vec![node(word)?]),
            "{number}" => holes.numbers.push(number(word)?),
            "{key}" => holes.keys.push(key(word)?),
            "{word}" => holes.words.push((*word).to_owned()),
            _ => {
                part.split('|').find(|alternative| alternative == word)?;
            }
        }
        rest = after;
    }
    rest.is_empty().then_some(holes)
}

fn number(word: &str) -> Option<u64> {
    const NAMES: [&str; 11] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    let named = NAMES
        .iter()
        .position(|name| *name == word)
        .map(|position| position as u64);
    named.or_else(|| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str, sentence: &str) -> Option<Holes> {
        let words = words(sentence);
        matches(
            pattern,
            &words.iter().map(String::as_str).collect::<Vec<_>>(),
            3,
        )
    }

    #[test]
    fn holes_take_lists_times_and_keys() {
        let holes = filled(
            "cut {nodes} off from {nodes}",
            "Cut a, b and c off from d and e",
        );
        assert_eq!(holes.unwrap().nodes, vec![vec![0, 1, 2], vec![3, 4]]);
        let holes = filled("{nodes} crash|crashes", "everybody crashes").unwrap();
        assert_eq!(holes.nodes, vec![vec![0, 1, 2]]);
        assert_eq!(
            filled("{time} pass|passes", "30 ms pass").unwrap().numbers,
            vec![30 * MILLI]
        );
        assert_eq!(
            filled("{node} clock jumps", "b's clock jumps")
                .unwrap()
                .node(0),
            1
        );
        assert_eq!(filled("read {key}", "read q").unwrap().keys, vec![1]);
        assert_eq!(
            filled("{number} voters", "three voters").unwrap().numbers,
            vec![3]
        );
    }

    #[test]
    fn a_sentence_matches_whole_or_not_at_all() {
        assert_eq!(filled("{nodes} crash|crashes", "a crashes hard"), None);
        assert_eq!(filled("{nodes} crash|crashes", "a"), None);
        assert_eq!(filled("{nodes} crash|crashes", "somebody crashes"), None);
    }
}
