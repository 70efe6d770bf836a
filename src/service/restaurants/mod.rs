//! Restaurants: their settings, and how much of their pool is in use.

pub(super) mod business_date;
pub(super) mod cleanup;
pub(super) mod special;

use super::{Dependency, ServiceError, trail};
use crate::{
    allocator::{Allocator, Configured, SeenSettings, StoredSettings},
    domain::{
        Context, PartitionId, PoolOccupancy, PoolSettings, Precondition, Refusal, RestaurantId, SettingsPatch,
        SettingsTag,
    },
    ledger::Ledger,
};

/// How often settings are looked at anew when others changed between reading and writing.
const CHANGE_ATTEMPTS: usize = 8;

/// The settings of a restaurant, its own or the defaults.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PresentSettings {
    /// As they now stand.
    pub settings: PoolSettings,
    /// Names this state of them.
    pub tag: SettingsTag,
    /// Whether they are its own. A restaurant that has only the defaults has had no order yet.
    pub is_own: bool,
}

impl PresentSettings {
    fn at(version: u32, settings: PoolSettings) -> Self {
        Self { tag: SettingsTag::of(version, &settings), settings, is_own: true }
    }

    fn defaults(settings: PoolSettings) -> Self {
        Self { is_own: false, ..Self::at(0, settings) }
    }
}

/// The settings of a restaurant after a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangedSettings {
    /// As they now stand.
    pub present: PresentSettings,
    /// As [`super::ChangedOrder::replayed`].
    pub replayed: bool,
}

/// Restaurants: their settings, their pools and what is forgotten there. Cheap to clone.
#[derive(Clone)]
pub struct Restaurants {
    allocator: Allocator,
    ledger: Ledger,
    /// Whether a restaurant that has not been configured gets the default settings with its first order.
    auto_provision: bool,
}

impl Restaurants {
    pub(super) fn new(allocator: Allocator, ledger: Ledger, auto_provision: bool) -> Self {
        Self { allocator, ledger, auto_provision }
    }

    pub(super) fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// All restaurants that Redis or the ledger knows, in ascending order; those of closed partitions cannot be asked for.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable.
    pub(crate) async fn known(&self) -> Result<Vec<RestaurantId>, ServiceError> {
        let mut all = self.ledger.restaurants().await?;
        all.retain(|restaurant| self.is_served(*restaurant));
        all.extend(self.in_redis().await?);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Whether its partition is served.
    pub(crate) fn is_served(&self, restaurant: RestaurantId) -> bool {
        !self.allocator.is_closed(self.allocator.partition_of(restaurant))
    }

    /// All restaurants that Redis knows, in ascending order; those of closed partitions cannot be asked for.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn in_redis(&self) -> Result<Vec<RestaurantId>, ServiceError> {
        let mut all = Vec::new();
        let open = |partition: &PartitionId| !self.allocator.is_closed(*partition);
        for partition in PartitionId::all(self.allocator.partition_count()).filter(open) {
            all.extend(self.allocator.restaurants(partition).await?);
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The settings of a restaurant; the defaults for one that has none yet, if it would be provisioned.
    ///
    /// # Errors
    /// Refused when it is unknown and `auto_provision` is off.
    pub(crate) async fn settings(&self, restaurant: RestaurantId) -> Result<PresentSettings, ServiceError> {
        let seen = self.allocator.see_settings(restaurant).await?;
        Ok(self.present(restaurant, &seen)?)
    }

    fn present(&self, restaurant: RestaurantId, seen: &SeenSettings) -> Result<PresentSettings, Refusal> {
        match &seen.stored {
            Some(StoredSettings { settings, version }) => Ok(PresentSettings::at(*version, settings.clone())),
            None => Ok(PresentSettings::defaults(self.default_settings(restaurant)?)),
        }
    }

    /// Gives a restaurant settings, in place of all it had.
    ///
    /// # Errors
    /// Refused when those it had are not what the caller demands. Unavailable when Redis is unreachable.
    pub(crate) async fn configure(
        &self,
        restaurant: RestaurantId,
        settings: PoolSettings,
        precondition: &Precondition,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        // What is special about numbers has calls of its own.
        let replaced = |present: Result<&PoolSettings, Refusal>| {
            let special = present.map(|present| present.special.clone()).unwrap_or_default();
            Ok(Some(PoolSettings { special, ..settings.clone() }))
        };
        self.replace(restaurant, precondition, &context, replaced).await
    }

    /// Changes some of a restaurant's settings. Where nothing would change, nothing is put.
    ///
    /// # Errors
    /// As [`Restaurants::configure`]; refused as well when it is unknown and `auto_provision` is off, or when its
    /// settings would not go together.
    pub(crate) async fn amend(
        &self,
        restaurant: RestaurantId,
        patch: &SettingsPatch,
        precondition: &Precondition,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let amended = |present: Result<&PoolSettings, Refusal>| -> Result<Option<PoolSettings>, Refusal> {
            let present = present?;
            if patch.applied_to(present) == *present {
                return Ok(None);
            }
            patch.checked_on(present).map(Some)
        };
        self.replace(restaurant, precondition, &context, amended).await
    }

    /// Puts settings that are made of the present ones, in place of just these; `settings_of` gives none where they are
    /// to stay. What others change meanwhile is looked at anew.
    async fn replace(
        &self,
        restaurant: RestaurantId,
        precondition: &Precondition,
        context: &Context,
        settings_of: impl Fn(Result<&PoolSettings, Refusal>) -> Result<Option<PoolSettings>, Refusal>,
    ) -> Result<ChangedSettings, ServiceError> {
        for _ in 0..CHANGE_ATTEMPTS {
            let seen = self.allocator.see_settings(restaurant).await?;
            let present = self.present(restaurant, &seen);
            let settings = settings_of(present.as_ref().map(|present| &present.settings).map_err(Clone::clone));
            if !matches!(settings, Err(Refusal::RestaurantNotFound(_))) {
                demand(precondition, present.as_ref().ok(), &seen)?;
            }
            let Some(settings) = settings? else {
                return Ok(ChangedSettings { present: present?, replayed: false });
            };
            let faults = settings.blocked_reservations();
            if !faults.is_empty() {
                return Err(Refusal::SettingsAtFault(faults).into());
            }
            match self.allocator.reconfigure(restaurant, &settings, &seen, context).await? {
                Configured::Done(version) => {
                    trail::settings(restaurant, context);
                    return Ok(ChangedSettings { present: PresentSettings::at(version, settings), replayed: false });
                }
                Configured::Replayed(_) => {
                    trail::settings(restaurant, context);
                    return Ok(ChangedSettings { present: self.settings(restaurant).await?, replayed: true });
                }
                Configured::Exists | Configured::Moved => {}
            }
        }
        Err(ServiceError::Unavailable {
            dependency: Dependency::Quiet,
            reason: format!("the settings of restaurant {restaurant} are being changed by others all the time"),
            retry_after_seconds: 1,
        })
    }

    /// How much of a restaurant's pool is in use.
    ///
    /// # Errors
    /// As [`Restaurants::settings`].
    pub(crate) async fn occupancy(&self, restaurant: RestaurantId) -> Result<PoolOccupancy, ServiceError> {
        if let Some(count) = self.allocator.count_numbers(restaurant).await? {
            return Ok(count.occupancy);
        }
        let settings = self.default_settings(restaurant)?;
        let capacity = settings.capacity();
        Ok(PoolOccupancy {
            capacity,
            free: capacity,
            live: 0,
            cooling: 0,
            blocked: settings.blocked_in_range(),
            reserved: 0,
            quarantined: 0,
            retiring: 0,
            utilization: 0.0,
            next_free_at: None,
            oldest_live_at: None,
            ranges: Vec::new(),
        })
    }

    /// What an unknown restaurant would get.
    pub(super) fn default_settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, Refusal> {
        if self.auto_provision { Ok(PoolSettings::default()) } else { Err(Refusal::RestaurantNotFound(restaurant)) }
    }

    /// Gives an unknown restaurant the default settings; harmless where another call was first.
    pub(super) async fn provision(&self, restaurant: RestaurantId, context: &Context) -> Result<(), ServiceError> {
        let settings = self.default_settings(restaurant)?;
        self.allocator.configure(restaurant, &settings, true, context).await?;
        Ok(())
    }
}

/// Refuses what is not as the caller demands. Defaults are a state like any other, but no settings of its own.
fn demand(precondition: &Precondition, present: Option<&PresentSettings>, seen: &SeenSettings) -> Result<(), Refusal> {
    let tag = present.map(|present| &present.tag);
    let is_own = seen.stored.is_some();
    if !precondition.is_matched_by(tag) {
        return Err(Refusal::SettingsChanged { present: tag.cloned() });
    }
    match tag {
        Some(tag) if is_own && precondition.is_excluded_by(Some(tag)) => {
            Err(Refusal::SettingsExist { present: tag.clone() })
        }
        _ => Ok(()),
    }
}
