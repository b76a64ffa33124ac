//! Dead letters, of the outbox and of consumers: listed, and decided on.
//!
//! Invariant: a decision is on the death that was seen. A letter that has died again since, or a decision that arrives after its call
//! was given up, is left as it is.

use super::{
    Store, event,
    request::{Request, elements, number, text},
    script::{DECIDE, LETTERS, OPEN},
    server::Line,
};
use crate::value::{as_u64, record, time};
use redis::Value;
use sagaz_core::store::{
    DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterPage, DeadState, StoreError,
};
use std::collections::VecDeque;

/// The most letters that one script decides on: nobody else is served meanwhile.
const DECIDE_AT_ONCE: usize = 128;

/// What a letter is named in its partition, so that the names are in the order of the list: an event's id, and then the consumer.
pub(super) fn name(event: &str, consumer: Option<&str>) -> String {
    match consumer {
        None => format!("{event}\0"),
        Some(consumer) => format!("{event}\0\u{1}{consumer}"),
    }
}

pub(super) fn name_of(letter: &DeadLetterId) -> String {
    name(letter.event.as_str(), letter.consumer.as_deref())
}

/// A partition's names, as far as they were read.
#[derive(Default)]
struct Part {
    names: VecDeque<String>,
    last: String,
    is_read: bool,
}

/// The partitions' names are merged, and then the letters are read, until the page is full.
pub(super) async fn list(
    store: &Store,
    filter: &DeadLetterFilter,
) -> Result<DeadLetterPage, StoreError> {
    let page_len = filter.page_len() as usize;
    // One more says that there is another page.
    let wanted = page_len + 1;
    let after = filter.after.as_ref().map(name_of).unwrap_or_default();
    let mut parts: Vec<Part> = store
        .space
        .tags
        .iter()
        .map(|_| Part {
            last: after.clone(),
            ..Part::default()
        })
        .collect();
    let length = (wanted * 2 / parts.len()).clamp(8, 256);
    let mut found = Vec::with_capacity(wanted);
    while found.len() < wanted {
        refill(store, filter.state, &mut parts, length).await?;
        let next = merge(&mut parts, wanted - found.len());
        if next.is_empty() {
            break;
        }
        let letters = read(store, &next).await?;
        found.extend(letters.into_iter().filter(|letter| fits(filter, letter)));
    }
    let has_more = found.len() > page_len;
    found.truncate(page_len);
    let last = found.last().filter(|_| has_more);
    Ok(DeadLetterPage {
        next: last.map(|letter| DeadLetterId {
            event: letter.event.event_id().clone(),
            consumer: letter.consumer.clone(),
        }),
        letters: found,
    })
}

fn fits(filter: &DeadLetterFilter, letter: &DeadLetter) -> bool {
    let event = &letter.event;
    filter.state.is_none_or(|state| state == letter.state)
        && filter
            .event_type
            .as_ref()
            .is_none_or(|wanted| wanted == event.event_type())
        && filter
            .key
            .as_ref()
            .is_none_or(|wanted| Some(wanted.as_str()) == event.ordering_key())
        && filter
            .consumer
            .as_ref()
            .is_none_or(|wanted| *wanted == letter.consumer)
}

/// Reads on in every partition whose names are used up.
async fn refill(
    store: &Store,
    state: Option<DeadState>,
    parts: &mut [Part],
    length: usize,
) -> Result<(), StoreError> {
    let mut used_up: Vec<(&String, &mut Part)> = store
        .space
        .tags
        .iter()
        .zip(parts)
        .filter(|(_, part)| part.names.is_empty() && !part.is_read)
        .collect();
    let requests: Vec<_> = used_up
        .iter()
        .map(|(tag, part)| {
            let request = Request::script(&LETTERS, tag)
                .owned(part.last.clone())
                .shown(length);
            DeadState::ALL
                .iter()
                .filter(|it| state.is_none_or(|state| state == **it))
                .fold(request, |request, state| request.text(state.as_str()))
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    for ((_, part), reply) in used_up.iter_mut().zip(replies) {
        // The first of each state, so that the first of all are among them.
        let mut names: Vec<String> = elements(reply).into_iter().filter_map(text).collect();
        part.is_read = names.len() < length;
        names.sort_unstable();
        names.truncate(length);
        part.names = names.into();
        if let Some(last) = part.names.back() {
            part.last.clone_from(last);
        }
    }
    Ok(())
}

/// The first names, each with the number of its partition, as long as it is known which they are.
fn merge(parts: &mut [Part], limit: usize) -> Vec<(usize, String)> {
    let mut merged = Vec::new();
    while merged.len() < limit
        && parts
            .iter()
            .all(|part| part.is_read || !part.names.is_empty())
    {
        let first = parts
            .iter_mut()
            .enumerate()
            .filter(|(_, part)| !part.names.is_empty())
            .min_by(|(_, one), (_, other)| one.names.front().cmp(&other.names.front()));
        let Some((partition, part)) = first else {
            break;
        };
        merged.extend(part.names.pop_front().map(|name| (partition, name)));
    }
    merged
}

/// Those that are still there.
pub(super) async fn read(
    store: &Store,
    names: &[(usize, String)],
) -> Result<Vec<DeadLetter>, StoreError> {
    let fields = [
        "key",
        "event",
        "type",
        "data",
        "consumer",
        "attempts",
        "error",
        "blocks",
        "state",
        "died",
        "interventions",
    ];
    let requests: Vec<_> = names
        .iter()
        .map(|(partition, name)| {
            let key = format!("{}:d:{name}", store.space.tags[*partition]);
            let request = Request::command("HMGET", key);
            fields
                .iter()
                .fold(request, |request, field| request.text(field))
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    let mut letters = Vec::with_capacity(names.len());
    for ((_, name), reply) in names.iter().zip(replies) {
        let mut values = elements(reply).into_iter();
        let mut next = || values.next().unwrap_or(Value::Nil);
        let parts = [next(), next(), next(), next()];
        if parts[1] == Value::Nil {
            continue;
        }
        let event = event::read(parts)?;
        let consumer = text(next());
        let attempts = number(next()).and_then(|attempts| u32::try_from(attempts).ok());
        let words = text(next()).unwrap_or_default();
        let blocks = number(next()) == Some(1);
        let state = text(next()).and_then(|word| DeadState::from_word(&word));
        let (Some(state), Some(died), Some(attempts)) = (state, number(next()), attempts) else {
            return Err(unreadable(name));
        };
        let mut letter = DeadLetter::new(event, consumer, attempts, words, time(died));
        (letter.blocks, letter.state) = (blocks, state);
        if let Some(interventions) = text(next()) {
            letter.interventions = serde_json::from_str(&interventions)
                .map_err(|error| unreadable(name).caused_by(error))?;
        }
        letters.push(letter);
    }
    Ok(letters)
}

fn unreadable(name: &str) -> StoreError {
    StoreError::fatal(format!(
        "the stored dead letter {name:?} is not of this store"
    ))
}

/// Nobody knows in which partition a letter is: all of them are asked which they have, and then those decide.
pub(super) async fn decide(store: &Store, decision: &DeadDecision) -> Result<u64, StoreError> {
    // The time is the last field, and the server's.
    let mut intervention = decision.intervention.clone();
    intervention.at_ms = 0;
    let intervention = record(&intervention)?;
    let intervention = intervention.trim_end_matches("0}");
    let of_use_ms = i64::try_from(store.server.call_timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let mut decided = 0;
    for letters in decision.letters.chunks(DECIDE_AT_ONCE) {
        let names: Vec<String> = letters.iter().map(name_of).collect();
        let requests: Vec<_> = store
            .space
            .tags
            .iter()
            .map(|tag| {
                names
                    .iter()
                    .fold(Request::script(&OPEN, tag), |request, name| {
                        request.text(name)
                    })
            })
            .collect();
        let replies = store.server.ask(Line::Reader, &requests).await?;
        let mut requests = Vec::new();
        for (tag, reply) in store.space.tags.iter().zip(replies) {
            let mut open = elements(reply).into_iter().filter_map(text).peekable();
            let now_ms: i64 = open.next().and_then(|now| now.parse().ok()).unwrap_or(0);
            if open.peek().is_none() {
                continue;
            }
            let request = Request::script(&DECIDE, tag)
                .shown(now_ms.saturating_add(of_use_ms))
                .text(decision.state.as_str())
                .text(intervention);
            requests.push(open.fold(request, Request::owned));
        }
        let replies = store.server.ask(Line::Writer, &requests).await?;
        decided += replies
            .into_iter()
            .filter_map(number)
            .map(as_u64)
            .sum::<u64>();
    }
    if decided > 0 && decision.state == DeadState::Retried {
        store.fresh.tell();
    }
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_list() {
        let id = |event: &str, consumer: Option<&str>| DeadLetterId {
            event: event.into(),
            consumer: consumer.map(str::to_owned),
        };
        let mut letters = [
            id("b", None),
            id("a", Some("z")),
            id("ab", Some("")),
            id("a", Some("y")),
            id("a", None),
            id("ab", None),
        ];
        letters.sort();
        let names: Vec<String> = letters.iter().map(name_of).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
