//! The settings of the attributes, as tables: what each is called, what it is called elsewhere, and how it is read.
//!
//! Errors, the search for similar names and the test of the documentation all read these tables. Not here: whether
//! settings go together (`check`).

mod value;

pub(crate) use value::{Key, Millis, Name, name};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    print::{self, last_segment, snake_case},
    similar::similar,
};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{Path, Type};

/// `#[saga(..)]`.
#[derive(Default)]
pub(crate) struct SagaSettings {
    pub(crate) name: Option<Name>,
    pub(crate) input: Option<Type>,
    pub(crate) on_failure: OnFailure,
    pub(crate) deadline: Option<Millis>,
    pub(crate) version: Option<u32>,
    pub(crate) accepts: Vec<u32>,
    pub(crate) codec: Option<Type>,
    pub(crate) krate: Option<Path>,
    /// Something that could not be understood may have been the input.
    pub(crate) is_input_unsure: bool,
}

impl SagaSettings {
    /// What parameters call the input, beside `input`: its type in snake case.
    pub(crate) fn input_name(&self) -> Option<String> {
        let ty = self.input.as_ref().and_then(last_segment)?;
        Some(snake_case(&ty))
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum OnFailure {
    FailFast,
    Grace(Option<Millis>),
    #[default]
    Unset,
    WaitAll,
}

/// `#[step(..)]`.
#[derive(Default)]
pub(crate) struct StepSettings {
    pub(crate) name: Option<Name>,
    pub(crate) depends_on: Vec<Name>,
    /// Something that could not be understood may have been a dependency.
    pub(crate) are_dependencies_unsure: bool,
    pub(crate) timeout: Option<Millis>,
    pub(crate) retry: Option<RetrySettings>,
    pub(crate) atomic: Option<Span>,
    pub(crate) pivot: Option<Span>,
    pub(crate) no_compensation: Option<Span>,
    pub(crate) limit: Option<u32>,
    pub(crate) event: EventSettings,
}

/// `#[compensate(..)]`, but for the step that it undoes.
#[derive(Default)]
pub(crate) struct CompensationSettings {
    pub(crate) timeout: Option<Millis>,
    pub(crate) retry: Option<RetrySettings>,
    pub(crate) after: Vec<Name>,
    pub(crate) event: EventSettings,
}

/// What a method publishes when it has done its work.
#[derive(Default)]
pub(crate) struct EventSettings {
    pub(crate) emits: Option<Name>,
    /// Whether `emits` is there, or something that could not be understood may have been it.
    pub(crate) is_there: bool,
    pub(crate) key: Option<Key>,
}

/// `retry(..)`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RetrySettings {
    pub(crate) attempts: Option<u32>,
    pub(crate) forever: bool,
    pub(crate) initial: Option<Millis>,
    pub(crate) max: Option<Millis>,
    pub(crate) factor: Option<f64>,
    pub(crate) jitter: Option<f64>,
}

/// One setting of an attribute.
pub(crate) struct Setting<T: 'static> {
    pub(crate) key: &'static str,
    /// What other libraries call it.
    pub(crate) synonyms: &'static [&'static str],
    pub(crate) example: &'static str,
    read: fn(&mut T, &Entry, &'static str, &mut Diagnostics) -> Result<(), Diagnostic>,
}

pub(crate) const SAGA: &[Setting<SagaSettings>] = &[
    Setting {
        key: "name",
        synonyms: &["id", "saga"],
        example: "name = \"order-processing\"",
        read: |settings, entry, example, _| {
            entry.string(example).map(|name| settings.name = Some(name))
        },
    },
    Setting {
        key: "input",
        synonyms: &["data", "args"],
        example: "input = Order",
        read: |settings, entry, example, _| {
            let input = entry.ty(example);
            settings.is_input_unsure |= input.is_err();
            input.map(|input| settings.input = Some(input))
        },
    },
    Setting {
        key: "on_failure",
        synonyms: &["failure_strategy", "strategy", "on_error"],
        example: "on_failure = fail_fast",
        read: |settings, entry, example, _| {
            on_failure(entry, example).map(|on_failure| settings.on_failure = on_failure)
        },
    },
    Setting {
        key: "deadline",
        synonyms: &["timeout"],
        example: "deadline = \"1h\"",
        read: |settings, entry, example, _| {
            let zero = "a saga with a zero deadline never runs";
            entry
                .duration(example, Some(zero))
                .map(|deadline| settings.deadline = Some(deadline))
        },
    },
    Setting {
        key: "version",
        synonyms: &["revision"],
        example: "version = 2",
        read: |settings, entry, example, _| {
            entry
                .number(example)
                .map(|version| settings.version = Some(version))
        },
    },
    Setting {
        key: "accepts",
        synonyms: &["compatible_with", "migrates"],
        example: "accepts = [1]",
        read: |settings, entry, example, _| {
            entry
                .numbers(example)
                .map(|accepts| settings.accepts = accepts)
        },
    },
    Setting {
        key: "codec",
        synonyms: &["format", "serializer"],
        example: "codec = MyCodec",
        read: |settings, entry, example, _| {
            entry.ty(example).map(|codec| settings.codec = Some(codec))
        },
    },
    Setting {
        key: "crate",
        synonyms: &["path"],
        example: "crate = my_sagaz",
        read: |settings, entry, example, _| {
            entry.path(example).map(|path| settings.krate = Some(path))
        },
    },
];

pub(crate) const STEP: &[Setting<StepSettings>] = &[
    Setting {
        key: "name",
        synonyms: &["id"],
        example: "name = \"charge-payment\"",
        read: |settings, entry, example, _| {
            entry.string(example).map(|name| settings.name = Some(name))
        },
    },
    Setting {
        key: "depends_on",
        synonyms: &[
            "after",
            "requires",
            "needs",
            "deps",
            "depends",
            "dependencies",
            "on",
        ],
        example: "depends_on = [\"reserve\"]",
        read: |settings, entry, example, diagnostics| {
            let names = entry.names(example, diagnostics);
            settings.are_dependencies_unsure |= names.is_err();
            let (names, are_all) = names?;
            settings.depends_on = names;
            settings.are_dependencies_unsure |= !are_all;
            Ok(())
        },
    },
    Setting {
        key: "timeout",
        synonyms: &["deadline", "timeout_ms"],
        example: "timeout = \"30s\"",
        read: |settings, entry, example, _| {
            let zero = "a step with a zero timeout never completes";
            entry
                .duration(example, Some(zero))
                .map(|timeout| settings.timeout = Some(timeout))
        },
    },
    Setting {
        key: "retry",
        synonyms: &["retries", "max_retries", "attempts", "backoff"],
        example: "retry(attempts = 5)",
        read: |settings, entry, example, diagnostics| {
            settings.retry = Some(RetrySettings::default());
            retry(entry, example, "a step", diagnostics).map(|retry| settings.retry = Some(retry))
        },
    },
    Setting {
        key: "atomic",
        synonyms: &["clean"],
        example: "atomic",
        read: |settings, entry, _, _| {
            settings.atomic = Some(entry.key.span);
            entry.flag()
        },
    },
    Setting {
        key: "pivot",
        synonyms: &["point_of_no_return"],
        example: "pivot",
        read: |settings, entry, _, _| {
            settings.pivot = Some(entry.key.span);
            entry.flag()
        },
    },
    Setting {
        key: "no_compensation",
        synonyms: &["no_undo", "readonly"],
        example: "no_compensation",
        read: |settings, entry, _, _| {
            settings.no_compensation = Some(entry.key.span);
            entry.flag()
        },
    },
    Setting {
        key: "limit",
        synonyms: &["concurrency", "max_concurrency"],
        example: "limit = 20",
        read: |settings, entry, example, _| {
            entry
                .positive(example, "a step with a limit of zero never runs")
                .map(|limit| settings.limit = Some(limit))
        },
    },
    Setting {
        key: "emits",
        synonyms: &["publishes", "publish", "event", "emit"],
        example: "emits = \"inventory.reserved\"",
        read: |settings, entry, example, _| {
            settings.event.is_there = true;
            event_type(entry, example).map(|emits| settings.event.emits = Some(emits))
        },
    },
    Setting {
        key: "key",
        synonyms: &["partition_key", "ordering_key", "event_key"],
        example: "key = output.order_id",
        read: |settings, entry, example, _| {
            entry
                .expression(example)
                .map(|key| settings.event.key = Some(key))
        },
    },
];

pub(crate) const COMPENSATION: &[Setting<CompensationSettings>] = &[
    Setting {
        key: "timeout",
        synonyms: &["deadline", "timeout_ms"],
        example: "timeout = \"30s\"",
        read: |settings, entry, example, _| {
            let zero = "a compensation with a zero timeout never completes";
            entry
                .duration(example, Some(zero))
                .map(|timeout| settings.timeout = Some(timeout))
        },
    },
    Setting {
        key: "retry",
        synonyms: &["retries", "max_retries", "attempts", "backoff"],
        example: "retry(attempts = 5)",
        read: |settings, entry, example, diagnostics| {
            retry(entry, example, "a compensation", diagnostics)
                .map(|retry| settings.retry = Some(retry))
        },
    },
    Setting {
        key: "after",
        synonyms: &["depends_on"],
        example: "after = [\"charge\"]",
        read: |settings, entry, example, diagnostics| {
            let (names, _) = entry.names(example, diagnostics)?;
            settings.after = names;
            Ok(())
        },
    },
    Setting {
        key: "emits",
        synonyms: &["publishes", "publish", "event", "emit"],
        example: "emits = \"inventory.reserved\"",
        read: |settings, entry, example, _| {
            settings.event.is_there = true;
            event_type(entry, example).map(|emits| settings.event.emits = Some(emits))
        },
    },
    Setting {
        key: "key",
        synonyms: &["partition_key", "ordering_key", "event_key"],
        example: "key = output.order_id",
        read: |settings, entry, example, _| {
            entry
                .expression(example)
                .map(|key| settings.event.key = Some(key))
        },
    },
];

/// `retry` reads this table with the noun of what is retried.
const RETRY: &[Setting<RetrySettings>] = &[
    Setting {
        key: "forever",
        synonyms: &["infinite", "unlimited"],
        example: "forever",
        read: |settings, entry, _, _| entry.flag().map(|()| settings.forever = true),
    },
    Setting {
        key: "attempts",
        synonyms: &["max_attempts", "times", "max_retries", "retries"],
        example: "attempts = 5",
        read: |settings, entry, example, _| {
            entry
                .number(example)
                .map(|attempts| settings.attempts = Some(attempts))
        },
    },
    Setting {
        key: "initial",
        synonyms: &["delay", "backoff", "initial_delay", "min"],
        example: "initial = \"200ms\"",
        read: |settings, entry, example, _| {
            entry
                .duration(example, None)
                .map(|initial| settings.initial = Some(initial))
        },
    },
    Setting {
        key: "max",
        synonyms: &["max_delay", "cap", "max_interval"],
        example: "max = \"10s\"",
        read: |settings, entry, example, _| {
            entry
                .duration(example, None)
                .map(|max| settings.max = Some(max))
        },
    },
    Setting {
        key: "factor",
        synonyms: &["multiplier", "exponent"],
        example: "factor = 2.0",
        read: |settings, entry, example, _| match entry.fraction(example)? {
            factor if factor < 1.0 => Err(Diagnostic::new(
                entry.place(),
                "a factor below 1 makes each delay shorter",
            )),
            factor => {
                settings.factor = Some(factor);
                Ok(())
            }
        },
    },
    Setting {
        key: "jitter",
        synonyms: &["random"],
        example: "jitter = 0.5",
        read: |settings, entry, example, _| match entry.fraction(example)? {
            jitter if jitter > 1.0 => Err(Diagnostic::new(
                entry.place(),
                "a jitter above 1 takes more off a delay than there is",
            )
            .help("write a share of it, from 0 to 1")),
            jitter => {
                settings.jitter = Some(jitter);
                Ok(())
            }
        },
    },
];

/// What stands between two commas of an attribute.
pub(crate) struct Entry {
    key: Name,
    /// After `=`.
    value: Option<TokenStream>,
    /// Between parentheses.
    list: Option<TokenStream>,
    tokens: TokenStream,
}

/// The parts between the commas.
pub(crate) fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    // A comma inside `Map<K, V>` separates nothing.
    let (mut depth, mut dash) = (0_usize, false);
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' && !dash => {
                depth = depth.saturating_sub(1);
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => {
                parts.push(TokenStream::new());
                continue;
            }
            _ => {}
        }
        dash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '-');
        if let Some(part) = parts.last_mut() {
            part.extend([token]);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

impl Entry {
    /// `None` if it does not begin with a key.
    fn parse(tokens: &TokenStream) -> Option<Self> {
        let mut rest = tokens.clone().into_iter();
        let Some(TokenTree::Ident(key)) = rest.next() else {
            return None;
        };
        let key = Name::from_ident(&key);
        let mut entry = Self {
            key,
            value: None,
            list: None,
            tokens: tokens.clone(),
        };
        match rest.next() {
            None => {}
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {
                entry.value = Some(rest.collect());
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
                entry.list = Some(group.stream());
                rest.next().is_none().then_some(())?;
            }
            Some(_) => return None,
        }
        Some(entry)
    }
}

/// What was made of an attribute.
pub(crate) struct Reading {
    /// Every part is a setting, or was meant to be one that is known.
    pub(crate) is_known: bool,
    /// And each could be read.
    pub(crate) is_whole: bool,
}

/// Reads the settings of one attribute; `subject` is what they are settings of.
pub(crate) fn read<T>(
    table: &'static [Setting<T>],
    subject: &str,
    parts: &[TokenStream],
    settings: &mut T,
    diagnostics: &mut Diagnostics,
) -> Reading {
    let mut given: Vec<String> = Vec::new();
    let mut reading = Reading {
        is_known: true,
        is_whole: true,
    };
    for part in parts {
        let Some(entry) = Entry::parse(part) else {
            diagnostics.push(
                Diagnostic::at(
                    part,
                    format!("`{}` is not a setting of {subject}", print::tokens(part)),
                )
                .note(all(table)),
            );
            (reading.is_known, reading.is_whole) = (false, false);
            continue;
        };
        let key = entry.key.text.as_str();
        let Some(setting) = table.iter().find(|setting| setting.key == key) else {
            let meant = meant(table, key);
            diagnostics.push(unknown(table, subject, &entry.key, meant));
            if let Some(setting) = meant {
                // What was meant is taken as given, so that its absence is no second mistake; nor is what is wrong with it.
                let mut ignored = Diagnostics::default();
                let result = (setting.read)(settings, &entry, setting.example, &mut ignored);
                ignored.keep(result);
                ignored.into_errors();
            } else {
                reading.is_known = false;
            }
            reading.is_whole = false;
            continue;
        };
        if given.iter().any(|earlier| earlier == key) {
            diagnostics.push(Diagnostic::new(
                entry.key.span,
                format!("`{key}` is given twice"),
            ));
            continue;
        }
        given.push(key.to_owned());
        let result = (setting.read)(settings, &entry, setting.example, diagnostics);
        reading.is_whole &= diagnostics.keep(result).is_some();
    }
    reading
}

/// The setting that somebody meant who wrote `key`.
fn meant<T>(table: &'static [Setting<T>], key: &str) -> Option<&'static Setting<T>> {
    let by_synonym = |setting: &&Setting<T>| setting.synonyms.contains(&key);
    table.iter().find(by_synonym).or_else(|| {
        let key = similar(key, table.iter().map(|setting| setting.key))?;
        table.iter().find(|setting| setting.key == key)
    })
}

fn unknown<T>(
    table: &'static [Setting<T>],
    subject: &str,
    key: &Name,
    meant: Option<&Setting<T>>,
) -> Diagnostic {
    if key.text == "pivot" && subject == "a compensation" {
        return Diagnostic::new(key.span, "a compensation cannot be a pivot");
    }
    let diagnostic = Diagnostic::new(
        key.span,
        format!("`{}` is not a setting of {subject}", key.text),
    );
    match meant {
        Some(meant) => diagnostic.help(format!(
            "a setting with a similar name exists: `{}`",
            meant.key
        )),
        None => diagnostic.note(all(table)),
    }
}

fn all<T>(table: &'static [Setting<T>]) -> String {
    let keys: Vec<_> = table
        .iter()
        .map(|setting| format!("`{}`", setting.key))
        .collect();
    format!("the settings are {}", keys.join(", "))
}

fn retry(
    entry: &Entry,
    example: &str,
    subject: &str,
    diagnostics: &mut Diagnostics,
) -> Result<RetrySettings, Diagnostic> {
    let list = entry.list(example)?;
    let mut settings = RetrySettings::default();
    let parts = split(list.clone());
    if parts.is_empty() {
        return Err(Diagnostic::new(entry.key.span, "`retry` has no value")
            .help(format!("write `{example}`")));
    }
    read(RETRY, "a retry", &parts, &mut settings, diagnostics);
    if settings.attempts == Some(0) {
        let value = parts
            .iter()
            .filter_map(Entry::parse)
            .find(|part| part.key.text == "attempts");
        let place = value.map_or(entry.key.span.into(), |part| part.place());
        return Err(Diagnostic::new(
            place,
            format!("{subject} with zero attempts never runs"),
        ));
    }
    if settings.forever && settings.attempts.is_some() {
        return Err(Diagnostic::at(
            list,
            "`forever` and `attempts` exclude each other",
        ));
    }
    Ok(settings)
}

/// The type of an event, which brokers carry in a header.
fn event_type(entry: &Entry, example: &str) -> Result<Name, Diagnostic> {
    /// As `sagaz::EVENT_TEXT_MAX`.
    const LENGTH_MAX: usize = 512;
    let emits = entry.string(example)?;
    if emits.text.chars().any(char::is_control) {
        return Err(Diagnostic::new(
            entry.place(),
            "the type of an event has no control characters",
        ));
    }
    if emits.text.len() > LENGTH_MAX {
        return Err(Diagnostic::new(
            entry.place(),
            format!("the type of an event has at most {LENGTH_MAX} bytes"),
        ));
    }
    Ok(emits)
}

fn on_failure(entry: &Entry, example: &str) -> Result<OnFailure, Diagnostic> {
    let wrong = || {
        let written = entry.value.as_ref().map(print::tokens);
        let written = written.unwrap_or_else(|| entry.key.text.clone());
        Diagnostic::new(entry.place(), format!("`{written}` is not a failure strategy"))
            .help(format!("write `{example}`, `on_failure = grace`, `on_failure = grace(\"10s\")` or `on_failure = wait_all`"))
    };
    let value = entry.value.clone().ok_or_else(wrong)?;
    if let Some(word) = name(&value) {
        return match word.text.as_str() {
            "fail_fast" => Ok(OnFailure::FailFast),
            "grace" => Ok(OnFailure::Grace(None)),
            "wait_all" => Ok(OnFailure::WaitAll),
            _ => Err(wrong()),
        };
    }
    let bounded = Entry::parse(&value)
        .filter(|value| value.key.text == "grace")
        .ok_or_else(wrong)?;
    let bound = bounded.list.clone().ok_or_else(wrong)?;
    let bound = Entry {
        value: Some(bound),
        ..bounded
    };
    bound
        .duration("grace(\"10s\")", None)
        .map(|bound| OnFailure::Grace(Some(bound)))
}

/// The step that an attribute such as `#[compensate("reserve")]` names first, and the rest of it.
pub(crate) fn named_step(
    arguments: TokenStream,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> (Option<Name>, Vec<TokenStream>) {
    let mut parts = split(arguments);
    if let Some(named) = parts.first().and_then(name) {
        parts.remove(0);
        return (Some(named), parts);
    }
    // What stands in the place of the name is no second mistake, unless it is a setting.
    let is_setting = |part: &TokenStream| {
        let entry = Entry::parse(part);
        entry.is_some_and(|entry| {
            COMPENSATION
                .iter()
                .any(|setting| setting.key == entry.key.text)
        })
    };
    if parts.first().is_some_and(|part| !is_setting(part)) {
        parts.remove(0);
    }
    let attribute = path
        .segments
        .last()
        .map_or_else(String::new, |segment| segment.ident.to_string());
    diagnostics.push(
        Diagnostic::at(path, format!("`#[{attribute}]` names no step")).help(format!(
            "write `#[{attribute}(\"..\")]` with the name of the step"
        )),
    );
    (None, parts)
}

/// `#[from("step")]`, `#[from(step)]` or `#[from(input)]`.
pub(crate) fn bound_name(attribute: &syn::Attribute) -> Result<Name, Diagnostic> {
    let wrong = || {
        Diagnostic::at(attribute, "`#[from]` names no step")
            .help("write `#[from(\"..\")]` with the name of a step, or `#[from(input)]`")
    };
    match &attribute.meta {
        syn::Meta::List(list) => name(&list.tokens).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}
