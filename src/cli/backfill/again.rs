//! What is said of orders that were here already.

use super::reason::{Reason, Remark};
use crate::service::{BackFilled, Known};

/// What is noted about an order that was here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Noted {
    Updated,
    Replaced,
    Differs,
    OtherSource,
}

impl Reason for Noted {
    fn code(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Replaced => "replaced",
            Self::Differs => "differs",
            Self::OtherSource => "other_source",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Updated => "it is here, and has taken over what its row has otherwise",
            Self::Replaced => "an earlier run had taken it, and it has been taken again",
            Self::Differs => {
                "it is here, and its row has it otherwise: --update brings live orders up to date, --replace takes all again"
            }
            Self::OtherSource => "it is here, and came from another source: name that with --source to change it",
        }
    }
}

/// What is noted about what became of an order.
pub(super) fn remarks(outcome: &BackFilled) -> Vec<Remark<Noted>> {
    let fields = |reason, fields: &[String]| Remark::new(reason, fields.join(", "));
    match outcome {
        BackFilled::Updated(changed) => vec![fields(Noted::Updated, changed)],
        BackFilled::Replaced(changed) => vec![fields(Noted::Replaced, changed)],
        BackFilled::Live { replaces: true, .. } => vec![Remark::new(Noted::Replaced, "it is live, and had not been")],
        BackFilled::Known(Known { differs, other_source, .. }) => {
            let differs = (!differs.is_empty()).then(|| fields(Noted::Differs, differs));
            let other = other_source.as_ref().map(|source| Remark::new(Noted::OtherSource, source));
            differs.into_iter().chain(other).collect()
        }
        _ => Vec::new(),
    }
}
