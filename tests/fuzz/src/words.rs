//! What a word of an input stands for. Each is something, so that most mutants of an input say something as well.

/// The one of this word, or, of a word that is none, always the same one.
pub(crate) fn one_of<T: Copy, W: PartialEq<str> + ?Sized + 'static>(
    all: &[T],
    word: &str,
    as_str: impl Fn(T) -> &'static W,
) -> T {
    let sum: usize = word.bytes().map(usize::from).sum();
    let named = all.iter().find(|it| *as_str(**it) == *word);
    *named.unwrap_or(&all[sum % all.len()])
}

pub(crate) fn number(text: &str) -> u64 {
    let digits = text.trim();
    digits
        .parse()
        .unwrap_or(if digits.starts_with(|it: char| it.is_ascii_digit()) {
            u64::MAX
        } else {
            0
        })
}
