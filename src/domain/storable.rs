//! Texts that both stores can keep.

/// What the validation says of a NUL character; the edge tells the codes of faults apart by it.
pub(crate) const NUL_MESSAGE: &str = "must not contain a NUL character";

/// Postgres keeps no text with one.
pub(crate) fn no_nul(text: &str, (): &()) -> garde::Result {
    if text.contains('\0') {
        return Err(garde::Error::new(NUL_MESSAGE));
    }
    Ok(())
}

/// What is shown to people, and must show something.
pub(crate) fn storable_and_not_blank(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() {
        return Err(garde::Error::new("must not be blank"));
    }
    no_nul(text, &())
}
