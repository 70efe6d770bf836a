//! Which numbers are mistaken for which when they are called out.

use crate::domain::Avoid;

impl Avoid {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::TeenTy, Self::Swapped];

    /// The number that one is mistaken for in this way; None where there is none. It goes both ways.
    ///
    /// The last two digits decide, and those before them are the same: 113 is taken for 130, and 324 for 342.
    #[must_use]
    pub fn mistaken_for(self, number: u32) -> Option<u32> {
        let (rest, tens, ones) = (number - number % 100, number % 100 / 10, number % 10);
        let other = match self {
            // Thirteen to nineteen, and thirty to ninety.
            Self::TeenTy if tens == 1 && ones >= 3 => ones * 10,
            Self::TeenTy if tens >= 3 && ones == 0 => 10 + tens,
            Self::TeenTy => return None,
            // A digit of zero is not said, and two that are the same make the same number.
            Self::Swapped if tens == 0 || ones == 0 || tens == ones => return None,
            Self::Swapped => ones * 10 + tens,
        };
        Some(rest + other)
    }
}

/// The numbers that one is mistaken for in any of these ways.
pub(super) fn mistaken_for(ways: &[Avoid], number: u32) -> impl Iterator<Item = u32> {
    ways.iter().filter_map(move |way| way.mistaken_for(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mistaken_for_those_that_sound_alike() {
        for (way, number, other) in [
            (Avoid::TeenTy, 13, Some(30)),
            (Avoid::TeenTy, 50, Some(15)),
            (Avoid::TeenTy, 19, Some(90)),
            (Avoid::TeenTy, 113, Some(130)),
            (Avoid::TeenTy, 100_040, Some(100_014)),
            (Avoid::TeenTy, 10, None),
            (Avoid::TeenTy, 12, None),
            (Avoid::TeenTy, 20, None),
            (Avoid::TeenTy, 31, None),
            (Avoid::TeenTy, 3, None),
            (Avoid::Swapped, 24, Some(42)),
            (Avoid::Swapped, 324, Some(342)),
            (Avoid::Swapped, 33, None),
            (Avoid::Swapped, 20, None),
            (Avoid::Swapped, 102, None),
            (Avoid::Swapped, 7, None),
        ] {
            assert_eq!(way.mistaken_for(number), other, "{way:?} {number}");
        }
    }

    #[test]
    fn it_goes_both_ways() {
        for way in Avoid::ALL {
            for number in 1..2000 {
                if let Some(other) = way.mistaken_for(number) {
                    assert_eq!(way.mistaken_for(other), Some(number), "{way:?} {number}");
                }
            }
        }
    }
}
