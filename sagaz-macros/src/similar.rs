//! Which name was meant.

/// The most similar of `names`, if one is similar at all.
pub(crate) fn similar<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Two short names always look alike.
    let limit = match typed.chars().count() {
        0..3 => return None,
        letters => (letters / 3).max(1),
    };
    names
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters to insert, remove, replace, or swap with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(left != right);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == other[j - 1] && one[i - 1] == *right {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_similar_and_another_word_is_not() {
        let names = ["reserve", "charge", "ship"];
        assert_eq!(similar("resrve", names), Some("reserve"));
        assert_eq!(similar("cahrge", names), Some("charge"));
        assert_eq!(similar("shop", names), Some("ship"));
        assert_eq!(similar("refund", names), None);
        assert_eq!(similar("", names), None);
    }

    #[test]
    fn a_swap_of_two_letters_is_one_slip() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
