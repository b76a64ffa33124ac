//! Where events go: configuration, and the same for every broker.

use sagaz_core::broker::BrokerError;
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// Where events of each type go.
///
/// A rule names a type, or with a `*` at its end all types that begin alike; the rule that says most about a type decides,
/// wherever it stands. Events that no rule is about go to the topic that is named like their type, until
/// [`otherwise`](Self::otherwise) says something else or [`strict`](Self::strict) refuses them.
///
/// ```
/// use sagaz_brokers::Routes;
///
/// let routes: Routes = "order.*=orders, inventory.reserved=warehouse/reserved, *=others".parse()?;
/// let route = routes.find("inventory.reserved")?;
/// assert_eq!((route.exchange, &*route.topic), (Some("warehouse"), "reserved"));
/// assert_eq!(routes.find("order.placed")?.topic, "orders");
/// assert_eq!(routes.find("payment.made")?.topic, "others");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Events of one key are delivered in their order only within one topic. Where the order of events of several types matters,
/// send them to the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Routes {
    exact: BTreeMap<String, Target>,
    prefixes: BTreeMap<String, Target>,
    otherwise: Option<Target>,
}

/// Where one event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination<'a> {
    /// The exchange, which only RabbitMQ has; `None` is its default exchange.
    pub exchange: Option<&'a str>,
    /// The topic, subject or stream, or the routing key.
    pub topic: Cow<'a, str>,
}

/// A destination with `{type}` where the event's type is to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    exchange: Option<String>,
    topic: String,
}

const TYPE: &str = "{type}";

/// Why a route cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// There is no `=` in it.
    #[error("the route `{route}` has no `=`; write `type=topic`, such as `order.*=orders`")]
    NoDestination {
        /// The route.
        route: String,
    },
    /// The type is empty, or has a `*` before its end.
    #[error(
        "`{pattern}` names no types of events; write a type, or the beginning of some with one `*` at the end"
    )]
    Pattern {
        /// What stands before the `=`.
        pattern: String,
    },
    /// The exchange or the topic is empty.
    #[error("`{destination}` is no destination; write a topic, or `exchange/key` for RabbitMQ")]
    Destination {
        /// What stands behind the `=`.
        destination: String,
    },
    /// There are two routes of one pattern.
    #[error("there are two routes for `{pattern}`; leave one")]
    Twice {
        /// What stands before the `=` of both.
        pattern: String,
    },
}

impl Default for Routes {
    /// Every event goes to the topic that is named like its type.
    fn default() -> Self {
        Self {
            exact: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            otherwise: Some(Target {
                exchange: None,
                topic: TYPE.to_owned(),
            }),
        }
    }
}

impl Routes {
    /// Every event goes to the topic that is named like its type.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every event goes to one topic.
    pub fn all_to(destination: impl AsRef<str>) -> Result<Self, RouteError> {
        Self::new().otherwise(destination)
    }

    /// Events of this type, or with a `*` at its end of all types that begin so, go there: to a topic, or to `exchange/key` on
    /// RabbitMQ. The event's type takes the place of `{type}` in the topic.
    pub fn route(
        mut self,
        pattern: impl AsRef<str>,
        destination: impl AsRef<str>,
    ) -> Result<Self, RouteError> {
        let pattern = pattern.as_ref().trim();
        let target = Target::parse(destination.as_ref())?;
        if pattern == "*" {
            self.otherwise = Some(target);
            return Ok(self);
        }
        let (place, name) = match pattern.strip_suffix('*') {
            Some(prefix) => (&mut self.prefixes, prefix),
            None => (&mut self.exact, pattern),
        };
        if name.is_empty() || name.contains('*') {
            return Err(RouteError::Pattern {
                pattern: pattern.to_owned(),
            });
        }
        if place.insert(name.to_owned(), target).is_some() {
            return Err(RouteError::Twice {
                pattern: pattern.to_owned(),
            });
        }
        Ok(self)
    }

    /// Where events go that no other rule is about.
    pub fn otherwise(self, destination: impl AsRef<str>) -> Result<Self, RouteError> {
        self.route("*", destination)
    }

    /// Events that no rule is about are refused.
    pub fn strict(mut self) -> Self {
        self.otherwise = None;
        self
    }

    /// Where an event of this type goes. That there is no route is a refusal of the event.
    pub fn find<'a>(&'a self, event_type: &'a str) -> Result<Destination<'a>, BrokerError> {
        // The longest of the prefixes that fit.
        let by_prefix = || {
            (1..=event_type.len())
                .rev()
                .filter_map(|end| event_type.get(..end))
                .find_map(|prefix| self.prefixes.get(prefix))
        };
        let target = self
            .exact
            .get(event_type)
            .or_else(by_prefix)
            .or(self.otherwise.as_ref());
        target
            .map(|target| target.fill(event_type))
            .ok_or_else(|| {
                BrokerError::refused(format!(
                    "no route is for events of type `{event_type}`; add one, such as `{event_type}=topic`, or `*=topic` for all that have none"
                ))
            })
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, RouteError> {
        let text = text.trim();
        let (exchange, topic) = match text.split_once('/') {
            Some((exchange, topic)) => (Some(exchange), topic),
            None => (None, text),
        };
        if topic.is_empty() || exchange == Some("") {
            return Err(RouteError::Destination {
                destination: text.to_owned(),
            });
        }
        Ok(Self {
            exchange: exchange.map(str::to_owned),
            topic: topic.to_owned(),
        })
    }

    fn fill<'a>(&'a self, event_type: &'a str) -> Destination<'a> {
        let topic = if self.topic == TYPE {
            Cow::Borrowed(event_type)
        } else if self.topic.contains(TYPE) {
            Cow::Owned(self.topic.replace(TYPE, event_type))
        } else {
            Cow::Borrowed(self.topic.as_str())
        };
        Destination {
            exchange: self.exchange.as_deref(),
            topic,
        }
    }
}

impl FromStr for Routes {
    type Err = RouteError;

    /// Routes with commas or line ends between them. `*=` with nothing behind it is [`strict`](Self::strict).
    fn from_str(text: &str) -> Result<Self, RouteError> {
        let routes = text.split([',', '\n']).map(str::trim);
        routes
            .filter(|route| !route.is_empty())
            .try_fold(Self::new(), |routes, route| {
                let (pattern, destination) =
                    route
                        .split_once('=')
                        .ok_or_else(|| RouteError::NoDestination {
                            route: route.to_owned(),
                        })?;
                if pattern.trim() == "*" && destination.trim().is_empty() {
                    return Ok(routes.strict());
                }
                routes.route(pattern, destination)
            })
    }
}

impl fmt::Display for Routes {
    /// As [`from_str`](Self::from_str) reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, target) in &self.exact {
            write!(f, "{name}={target}, ")?;
        }
        for (prefix, target) in &self.prefixes {
            write!(f, "{prefix}*={target}, ")?;
        }
        match &self.otherwise {
            Some(target) => write!(f, "*={target}"),
            None => f.write_str("*="),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(exchange) = &self.exchange {
            write!(f, "{exchange}/")?;
        }
        f.write_str(&self.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_says_most_decides_wherever_it_stands() {
        for text in [
            "*=rest, a.*=a, a.b.*=ab, a.b.c=abc",
            "a.b.c=abc\na.b.*=ab\na.*=a\n*=rest",
        ] {
            let routes: Routes = text.parse().unwrap();
            let topics = ["a.b.c", "a.b.d", "a.b.", "a.b", "a.", "b", "äöü"]
                .map(|event_type| routes.find(event_type).unwrap().topic);
            assert_eq!(topics, ["abc", "ab", "ab", "a", "a", "rest", "rest"]);
        }
    }

    #[test]
    fn without_a_rule_the_topic_is_named_like_the_type() {
        assert_eq!(Routes::new().find("a.b").unwrap().topic, "a.b");
        let routes = Routes::all_to("shop/events.{type}").unwrap();
        let route = routes.find("a.b").unwrap();
        assert_eq!(
            (route.exchange, &*route.topic),
            (Some("shop"), "events.a.b")
        );
    }

    #[test]
    fn an_event_without_a_route_is_refused_by_its_type() {
        let routes: Routes = "order.*=orders, *=".parse().unwrap();
        let error = routes.find("payment.made").unwrap_err();
        assert!(error.is_refusal());
        assert!(error.to_string().contains("`payment.made=topic`"));
        assert_eq!(routes.find("order.placed").unwrap().topic, "orders");
    }

    #[test]
    fn what_is_wrong_with_a_route_is_told() {
        let wrong = [
            ("orders", "no `=`"),
            ("=orders", "names no types"),
            ("a*b=orders", "names no types"),
            ("**=orders", "names no types"),
            ("a=", "is no destination"),
            ("a=/b", "is no destination"),
            ("a=b/", "is no destination"),
            ("a=b, a=c", "two routes for `a`"),
            ("a.*=b, a.*=c", "two routes for `a.*`"),
        ];
        for (text, words) in wrong {
            let error = text.parse::<Routes>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn routes_are_written_as_they_are_read() {
        for text in ["a=b, c*=d/e, *={type}", "*=", "x.*=y.{type}, *=all"] {
            let routes: Routes = text.parse().unwrap();
            assert_eq!(routes.to_string(), text);
            assert_eq!(routes.to_string().parse::<Routes>(), Ok(routes));
        }
    }
}
