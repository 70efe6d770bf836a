//! Changes of what is special about numbers: which a restaurant may make.

use super::{
    DisplayNumber, PoolSettings, Quarantine, Refusal, SettingsFault, SettingsFaultKind, SpecialNumbers, Timestamp,
};

/// The most reservations that a restaurant may have.
pub(crate) const MOST_RESERVATIONS: usize = 500;

/// Of a hundred numbers so many may be taken out, one at least: one broken client must not empty a pool.
const PERCENT_OUT: u32 = 5;

impl SpecialNumbers {
    /// Keeps a number for a table.
    ///
    /// # Errors
    /// [`Refusal::NumberBlocked`], [`Refusal::TableHasNumber`], [`Refusal::TooManyReservations`].
    pub(crate) fn reserve(
        &mut self,
        settings: &PoolSettings,
        number: DisplayNumber,
        table: &str,
    ) -> Result<(), Refusal> {
        if settings.blocked_numbers.contains(number.get()) {
            return Err(Refusal::NumberBlocked { number });
        }
        if let Some(other) = self.number_for(table).filter(|other| *other != number.get()) {
            return Err(Refusal::TableHasNumber { table: table.to_owned(), number: other });
        }
        if self.reservations.len() >= MOST_RESERVATIONS && !self.reservations.contains_key(&number.get()) {
            return Err(Refusal::TooManyReservations { most: MOST_RESERVATIONS });
        }
        self.reservations.insert(number.get(), table.to_owned());
        Ok(())
    }

    /// Takes a number out. Those that are over are forgotten.
    ///
    /// # Errors
    /// [`Refusal::NumberNotInPool`], [`Refusal::QuarantineFull`].
    pub(crate) fn take_out(
        &mut self,
        settings: &PoolSettings,
        number: DisplayNumber,
        quarantine: Quarantine,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !settings.contains(number.get()) && !self.reservations.contains_key(&number.get()) {
            return Err(Refusal::NumberNotInPool { number });
        }
        self.quarantine.retain(|_, quarantine| quarantine.lasts(now));
        let most = (settings.capacity() * PERCENT_OUT / 100).max(1);
        let others = self.quarantine.keys().filter(|other| **other != number.get()).count();
        if others >= most as usize {
            return Err(Refusal::QuarantineFull { most });
        }
        self.quarantine.insert(number.get(), quarantine);
        Ok(())
    }
}

impl PoolSettings {
    /// The numbers that are kept for tables and would be blocked, which is never given.
    #[must_use]
    pub(crate) fn blocked_reservations(&self) -> Vec<SettingsFault> {
        let blocked = self.special.reservations.iter().filter(|(number, _)| self.blocked_numbers.contains(**number));
        let fault = |(number, table): (&u32, &String)| SettingsFault {
            pointer: "/blocked_numbers".to_owned(),
            kind: SettingsFaultKind::KeptForTable,
            detail: format!("has {number}, which is kept for table {table}: delete that reservation first"),
        };
        blocked.map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: i64) -> DisplayNumber {
        DisplayNumber::new(n).expect("in range")
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn out(until: Option<i64>) -> Quarantine {
        Quarantine { reason: "the tile is broken".to_owned(), until: until.map(at) }
    }

    #[test]
    fn a_table_has_one_number_and_a_number_one_table() {
        let settings = PoolSettings { blocked_numbers: "13".parse().expect("well-formed"), ..PoolSettings::default() };
        let mut special = SpecialNumbers::default();
        assert_eq!(special.reserve(&settings, number(7), "12"), Ok(()));
        assert_eq!(special.reserve(&settings, number(7), "12"), Ok(()), "again");
        assert_eq!(special.reserve(&settings, number(7), "14"), Ok(()), "moved to another table");
        assert_eq!(special.number_for("12"), None);
        assert_eq!(
            special.reserve(&settings, number(8), "14"),
            Err(Refusal::TableHasNumber { table: "14".to_owned(), number: 7 })
        );
        assert_eq!(special.reserve(&settings, number(13), "1"), Err(Refusal::NumberBlocked { number: number(13) }));
        assert_eq!(special.reserve(&settings, number(50_000), "patio"), Ok(()), "outside of the range");
        for (blocked, faults) in [("13", 0), ("7", 1), ("1-9,50000", 2), ("*", 2)] {
            let blocked_numbers = blocked.parse().expect("well-formed");
            let settings = PoolSettings { blocked_numbers, special: special.clone(), ..PoolSettings::default() };
            assert_eq!(settings.blocked_reservations().len(), faults, "{blocked}");
        }
    }

    #[test]
    fn no_more_than_a_twentieth_is_taken_out() {
        for (max_number, most) in [(1, 1), (19, 1), (20, 1), (39, 1), (40, 2), (9999, 499)] {
            let settings = PoolSettings { max_number, ..PoolSettings::default() };
            let mut special = SpecialNumbers::default();
            for n in 1..=most {
                assert_eq!(special.take_out(&settings, number(n), out(None), at(5)), Ok(()), "{max_number}: {n}");
            }
            let full = Err(Refusal::QuarantineFull { most: u32::try_from(most).expect("few") });
            if most < i64::from(max_number) {
                assert_eq!(special.take_out(&settings, number(most + 1), out(None), at(5)), full, "{max_number}");
            }
            assert_eq!(special.take_out(&settings, number(1), out(Some(9)), at(5)), Ok(()), "another end");
            if most < i64::from(max_number) {
                assert_eq!(special.take_out(&settings, number(most + 1), out(None), at(9)), Ok(()), "one is over");
            }
        }
        let settings = PoolSettings { max_number: 100, ..PoolSettings::default() };
        let mut special = SpecialNumbers::default();
        let outside = number(101);
        let refused = Err(Refusal::NumberNotInPool { number: outside });
        assert_eq!(special.take_out(&settings, outside, out(None), at(5)), refused);
        special.reserve(&settings, outside, "12").expect("it is not blocked");
        assert_eq!(special.take_out(&settings, outside, out(None), at(5)), Ok(()));
    }
}
