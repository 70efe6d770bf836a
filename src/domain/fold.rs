//! Folding: names that people take for the same become the same text. What is stored for the search and what is asked
//! both go through [`fold`].
//!
//! - NFKC: full width, ligatures and both normal forms are one; so is what cannot be seen (joiners, soft hyphens).
//! - Case, as Unicode folds it: `Straße` is `STRASSE`, `ΣΟΦΟΣ` is `σοφος`; all four forms of the Turkish i are `i`.
//! - Diacritics of Latin, Greek, Cyrillic, Hebrew, Arabic and Syriac letters are left out, and Latin letters that have no
//!   decomposition become those that people type for them: `Łukasz` is `lukasz`.
//! - Quotation marks and apostrophes are left out, whatever their form; every dash is a hyphen; digits of any script are
//!   ASCII's; white space is one space.
//!
//! Letters of other scripts stay themselves: `山田` is not `shan tian`, and the marks that tell kana, Indic vowels or
//! Cyrillic letters apart (`が`, `मि`, `й`) are no diacritics. A part of a text folds to a part of the folded text, unless
//! it was cut between such a letter and its mark.

use std::ops::RangeInclusive;

use deunicode::deunicode_char;
use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::{
    CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed,
    props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, QuotationMark, Script},
};

/// Numbers what [`fold`] does. It is raised with each change of that, a newer Unicode included: rows that are folded in
/// an earlier way are then folded anew.
pub(crate) const FOLD: i16 = 1;

/// The longest folded text, in bytes: an entry of the index that holds it has at most 2,700. A name of 128 characters
/// reaches it only if it is made of ligatures for whole phrases; the rest of such a name is not found.
const MAX_BYTES: usize = 2000;

const DECOMPOSING: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
const COMPOSING: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const CATEGORIES: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();
const SCRIPTS: CodePointMapDataBorrowed<'static, Script> = CodePointMapData::new();
const INVISIBLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const QUOTATION_MARKS: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<QuotationMark>();

/// Stretches letters of Arabic, and says nothing.
const TATWEEL: char = '\u{640}';

/// The spacing acute, which is typed for an apostrophe, and the Greek one, which is the same. NFKD would make a space and
/// a diacritic of them.
const ACUTES: [char; 2] = ['\u{b4}', '\u{1ffd}'];

/// Makes one text of all those that people do not tell apart.
#[must_use]
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    if text.is_ascii() {
        // Most names are, and nothing else can be the matter with them.
        text.chars().for_each(|c| push_folded(&mut folded, c.to_ascii_lowercase()));
        folded.truncate(folded.trim_end().len());
        return shortened(folded);
    }
    let plain = without_marks(DECOMPOSING.normalize_iter(text.chars().filter(|c| !ACUTES.contains(c))));
    for c in CASES.fold_string(&plain).chars() {
        push_folded(&mut folded, c);
    }
    folded.truncate(folded.trim_end().len());
    let folded = COMPOSING.normalize(&folded).into_owned();
    shortened(folded)
}

/// The text in full width, in ligatures or in another script's digits as ASCII has it, as far as it does: NFKC.
pub(crate) fn plain(text: &str) -> String {
    let decomposed = DECOMPOSING.normalize_iter(text.chars()).map(|c| decimal_digit(c).unwrap_or(c));
    COMPOSING.normalize_iter(decomposed).collect()
}

/// The text in NFC: how many characters a person sees in it, roughly.
pub(crate) fn composed(text: &str) -> impl Iterator<Item = char> {
    COMPOSING.normalize_iter(text.chars())
}

/// Whether a character is a letter of any script, a sign for a number, or a mark that belongs to one.
pub(crate) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    let category = CATEGORIES.get(c);
    [GeneralCategoryGroup::Letter, GeneralCategoryGroup::Mark, GeneralCategoryGroup::Number]
        .iter()
        .any(|group| group.contains(category))
}

/// Whether a character is not seen, and only copied along: joiners, marks of direction, variation selectors.
pub(crate) fn is_invisible(c: char) -> bool {
    !c.is_ascii() && INVISIBLE.contains(c)
}

/// The decimal digit that a character is, in whatever script.
pub(crate) fn decimal_digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    if CATEGORIES.get(c) != GeneralCategory::DecimalNumber {
        return None;
    }
    // Unicode keeps them in runs from 0 to 9; where two scripts' runs meet, they are one range.
    let holds = |range: &RangeInclusive<u32>| range.contains(&u32::from(c));
    let range = CATEGORIES.iter_ranges_for_value(GeneralCategory::DecimalNumber).find(holds)?;
    char::from_digit((u32::from(c) - range.start()) % 10, 10)
}

/// Leaves out diacritics and what cannot be seen.
fn without_marks(decomposed: impl Iterator<Item = char>) -> String {
    let mut plain = String::new();
    let mut base = ' ';
    for c in decomposed {
        if c.is_ascii() {
            base = c;
        } else if is_invisible(c) || c == TATWEEL {
            continue;
        } else if !GeneralCategoryGroup::Mark.contains(CATEGORIES.get(c)) {
            base = c;
        } else if is_diacritic(c) && !makes_a_letter(base, c) {
            continue;
        }
        plain.push(c);
    }
    plain
}

/// Whether a mark belongs to a script whose letters are the same without it. Marks that several scripts share are
/// diacritics, but for the voicing of kana.
fn is_diacritic(mark: char) -> bool {
    const VOICING: RangeInclusive<char> = '\u{3099}'..='\u{309a}';
    let stands_above = matches!(CATEGORIES.get(mark), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark);
    stands_above
        && !VOICING.contains(&mark)
        && matches!(
            SCRIPTS.get(mark),
            Script::Inherited
                | Script::Latin
                | Script::Greek
                | Script::Cyrillic
                | Script::Hebrew
                | Script::Arabic
                | Script::Syriac
        )
}

/// Cyrillic letters that Unicode decomposes, and that no reader takes for the letter below the mark: й, ў, ї, ѓ, ќ. The
/// dots of ё are left out even in print.
fn makes_a_letter(base: char, mark: char) -> bool {
    matches!(
        (base, mark),
        ('И' | 'и' | 'У' | 'у', '\u{306}') | ('І' | 'і', '\u{308}') | ('Г' | 'г' | 'К' | 'к', '\u{301}')
    )
}

/// Adds a character whose case is folded.
fn push_folded(folded: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        folded.push(c);
    } else if c.is_whitespace() || c.is_control() {
        if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    } else if is_apostrophe(c) || QUOTATION_MARKS.contains(c) {
        // "O’Brien" is typed with any of them, and without.
    } else if c.is_ascii() {
        folded.push(c);
    } else if c == '\u{2212}' || CATEGORIES.get(c) == GeneralCategory::DashPunctuation {
        folded.push('-');
    } else if let Some(digit) = decimal_digit(c) {
        folded.push(digit);
    } else if SCRIPTS.get(c) == Script::Latin {
        push_latin(folded, c);
    } else {
        folded.push(c);
    }
}

/// What is typed for an apostrophe, and the commonest quotation mark.
fn is_apostrophe(c: char) -> bool {
    matches!(
        c,
        '\'' | '"' | '`' | '\u{2b9}'
            ..='\u{2bc}' | '\u{2c8}' | '\u{2ca}' | '\u{2cb}' | '\u{2032}' | '\u{55a}' | '\u{5f3}'
    )
}

/// A Latin letter that has no decomposition, such as ł, ø, đ, ı, æ or þ, as those that are typed for it.
fn push_latin(folded: &mut String, c: char) {
    match (c, deunicode_char(c)) {
        // Written for ə where the keyboard has none; the table has a sign.
        ('ə', _) => folded.push('e'),
        (_, Some(typed)) if !typed.is_empty() && typed.bytes().all(|b| b.is_ascii_alphabetic()) => {
            folded.extend(typed.chars().map(|c| c.to_ascii_lowercase()));
        }
        _ => folded.push(c),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn what_people_do_not_tell_apart_is_one_text() {
        for (folded, texts) in [
            ("jose", &["José", "jose\u{301}", "JOSÉ", "ＪＯＳＥ", "jo\u{ad}se", "Jos\u{200d}é", "𝐉𝐨𝐬𝐞́"][..]),
            ("lukasz", &["Łukasz", "ŁUKASZ", "lukasz"]),
            ("strasse", &["Straße", "STRASSE", "STRAẞE", "Stra\u{df}e"]),
            ("istanbul", &["İstanbul", "ISTANBUL", "ıstanbul", "i\u{307}stanbul", "Istanbul"]),
            (
                "obrien",
                &[
                    "O’Brien",
                    "O'Brien",
                    "O‘Brien",
                    "OʼBrien",
                    "O`Brien",
                    "O´Brien",
                    "O\u{1ffd}Brien",
                    "O＇Brien",
                    "OBrien",
                ],
            ),
            ("nguyen", &["Nguyễn", "nguyê\u{303}n", "NGUYE\u{302}\u{303}N", "Nguye\u{303}\u{302}n"]),
            ("dang thi dao", &["Đặng Thị Đào", "đặng thị đào"]),
            ("dzemal fiala", &["Ǆemal ﬁala", "ǅemal Fiala", "ǆemal fiala", "Džemal fiala"]),
            ("soren aeroe", &["Søren Ærøe", "SØREN ÆRØE"]),
            ("thorunn", &["Þórunn", "þórunn"]),
            ("oeuvre", &["Œuvre", "œuvre"]),
            ("aysegul", &["Ayşegül", "AYŞEGÜL"]),
            ("eliyev", &["Əliyev", "əliyev"]),
            ("σοφοσ", &["ΣΟΦΟΣ", "σοφος", "Σόφος"]),
            ("алексеи петров", &["АЛЕКСЕИ ПЕТРОВ", "Алексеи\u{301} Петров"]),
            ("андрей ежов", &["Андрей Ёжов", "АНДРЕИ\u{306} Ежов"]),
            ("احمد", &["أَحْمَد", "احمد", "احـمد"]),
            ("שלום", &["שָׁלוֹם", "שלום"]),
            ("がく", &["がく", "か\u{3099}く"]),
            ("ガク", &["ガク", "ｶﾞｸ"]),
            ("김민수", &["김민수", "\u{1100}\u{1175}\u{11b7}민수"]),
            ("山田 太郎", &["山田　太郎", "山田 太郎", " 山田\t太郎 "]),
            ("anne-marie", &["Anne‑Marie", "Anne–Marie", "ANNE−MARIE", "Anne－Marie"]),
            ("table 42", &["Table ４２", "Table ٤٢", "Table ४२", "Table\u{a0}42", "Table 𝟜𝟚"]),
            ("❤ ana", &["❤️ Ana", "❤ Ana"]),
            ("100%_\\", &["100%_\\"]),
        ] {
            for text in texts {
                assert_eq!(fold(text), folded, "{text}");
            }
        }
    }

    #[test]
    fn what_people_tell_apart_stays_apart() {
        for (a, b) in [
            ("か", "が"),
            ("は", "ぱ"),
            ("मि", "मा"),
            ("ที่", "ที"),
            ("Андрей", "Андреи"),
            ("Їжак", "Іжак"),
            ("山田", "川田"),
            ("ab", "a-b"),
            ("👩", "👨"),
        ] {
            assert_ne!(fold(a), fold(b), "{a} {b}");
        }
    }

    #[test]
    fn nothing_is_left_of_what_says_nothing() {
        for text in ["", " ", "'", "\u{200d}", "\u{ad}", "“”", "\u{301}", "\0"] {
            assert_eq!(fold(text), "", "{text:?}");
        }
    }

    #[test]
    fn digits_of_every_script_are_known() {
        let digits = ('\0'..=char::MAX).filter(|c| CATEGORIES.get(*c) == GeneralCategory::DecimalNumber);
        let (mut zeros, mut nines) = (0, 0);
        for c in digits {
            match decimal_digit(c) {
                Some('0') => zeros += 1,
                Some('9') => nines += 1,
                digit => assert!(digit.is_some(), "{c}"),
            }
        }
        assert!(zeros == nines && zeros > 60, "{zeros} {nines}");
        for (c, digit) in
            [('7', '7'), ('٧', '7'), ('۷', '7'), ('७', '7'), ('７', '7'), ('๗', '7'), ('᠐', '0'), ('𞥙', '9')]
        {
            assert_eq!(decimal_digit(c), Some(digit), "{c}");
        }
        assert_eq!(decimal_digit('七'), None);
    }

    #[test]
    fn a_folded_text_is_never_too_long_for_the_index() {
        for c in ['\u{fdfa}', 'ﷺ', '㍿', 'ﬃ', '𝖆', '🍕', 'İ'] {
            let folded = fold(&c.to_string().repeat(128));
            assert!((128..=MAX_BYTES).contains(&folded.len()), "{c}: {}", folded.len());
        }
    }

    /// Each character by itself, as all of them are folded: what has changed here has to raise [`FOLD`].
    #[test]
    fn the_fold_is_the_one_that_its_number_names() {
        let mut all = Sha256::new();
        for c in '\0'..=char::MAX {
            let folded = fold(&c.to_string());
            assert_eq!(fold(&folded), folded, "{c:?} is folded once");
            let cased: String = c.to_lowercase().collect();
            assert_eq!(fold(&cased), folded, "{c:?} in lower case");
            all.update(folded.as_bytes());
            all.update([0]);
        }
        let digest: String = all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((FOLD, digest.as_str()), (1, "c879c78e29a9dd94"), "raise FOLD, and set the digest");
    }

    /// Letters of many scripts, with marks that compose and that do not.
    fn texts() -> impl Strategy<Value = String> {
        let letters = "[a-zA-Z0-9 '’\\-éÉøØßẞİıŁæﬁﬃǄςΣάйЙёїか゛がｶﾞ김민山مأहिमिทีｆ４٤४\u{301}\u{306}\u{308}\u{323}\u{3099}\u{200d}\u{ad}👩🏽]{0,24}";
        prop_oneof![letters, any::<String>()]
    }

    proptest! {
        #[test]
        fn a_folded_text_stays_as_it_is(text in texts()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn either_normal_form_and_either_case_folds_alike(text in texts()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&composed(&text).collect::<String>()), folded.as_str());
            let decomposed: String = DecomposingNormalizerBorrowed::new_nfd().normalize(&text).into_owned();
            prop_assert_eq!(fold(&decomposed), folded.as_str());
            let cased: String = text.chars().flat_map(char::to_lowercase).collect();
            prop_assert_eq!(fold(&cased), folded);
        }

        /// Unless the cut parts a letter from a mark, which may stand behind characters that fold to nothing.
        #[test]
        fn a_part_folds_to_a_part(before in texts(), part in texts(), behind in texts()) {
            let cuts = |text: &str| text.chars().find(|c| !fold(&c.to_string()).is_empty()).is_some_and(|c| {
                GeneralCategoryGroup::Mark.contains(CATEGORIES.get(c)) || composed(&format!("ᄀ{c}")).count() < 2
                    || composed(&format!("가{c}")).count() < 2 || DECOMPOSING.normalize(&c.to_string()).chars().next()
                        .is_some_and(|c| GeneralCategoryGroup::Mark.contains(CATEGORIES.get(c)))
            });
            prop_assume!(!cuts(&part) && !cuts(&behind));
            let whole = fold(&format!("{before}{part}{behind}"));
            let folded = fold(&part);
            prop_assert!(whole.contains(&folded), "{folded:?} is not in {whole:?}");
        }
    }
}
