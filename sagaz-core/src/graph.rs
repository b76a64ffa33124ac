//! The graph of a saga, drawn.
use crate::definition::Definition;
/// A graph to draw.
#[derive(Debug)]
pub struct Graph(&'static Definition);
impl Graph { pub(crate) fn new(d: &'static Definition) -> Self { Self(d) } }
