//! Restaurants: their settings, and how much of their pool is in use.

use super::{Service, ServiceError, trail};
use crate::{
    allocator::{Configured, StoredSettings},
    domain::{Context, PoolSettings, PoolUsage, Refusal, RestaurantId},
};

/// The settings of a restaurant after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedSettings {
    /// As they now stand.
    pub settings: PoolSettings,
    /// As [`super::ChangedOrder::replayed`].
    pub replayed: bool,
}

impl Service {
    /// The settings of a restaurant; the defaults for one that has none yet, if it would be provisioned.
    ///
    /// # Errors
    /// Refused when it is unknown and `auto_provision` is off.
    pub async fn settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, ServiceError> {
        match self.allocator.settings(restaurant).await? {
            Some(StoredSettings { settings, .. }) => Ok(settings),
            None => self.default_settings(restaurant),
        }
    }

    /// Gives a restaurant settings, in place of all it had.
    ///
    /// # Errors
    /// Unavailable when Redis is away.
    pub async fn put_settings(
        &self,
        restaurant: RestaurantId,
        settings: PoolSettings,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let configured = self.allocator.configure(restaurant, &settings, false, &context).await?;
        trail::settings(restaurant, &context);
        match configured {
            // Somebody else's may have come after them.
            Configured::Replayed(_) => {
                Ok(ChangedSettings { settings: self.settings(restaurant).await?, replayed: true })
            }
            Configured::Done(_) | Configured::Exists => Ok(ChangedSettings { settings, replayed: false }),
        }
    }

    /// How much of a restaurant's pool is in use.
    ///
    /// # Errors
    /// As [`Service::settings`].
    pub async fn usage(&self, restaurant: RestaurantId) -> Result<PoolUsage, ServiceError> {
        if let Some(survey) = self.allocator.survey(restaurant).await? {
            return Ok(survey.usage);
        }
        let settings = self.default_settings(restaurant)?;
        let capacity = settings.capacity();
        Ok(PoolUsage {
            capacity,
            free: capacity,
            live: 0,
            cooling: 0,
            blocked: settings.blocked_in_range(),
            reserved: 0,
            retiring: 0,
            utilization: 0.0,
            next_free_at: None,
            oldest_live_at: None,
        })
    }

    /// What an unknown restaurant would get.
    pub(super) fn default_settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, ServiceError> {
        if self.settings.auto_provision {
            Ok(PoolSettings::default())
        } else {
            Err(Refusal::RestaurantNotFound(restaurant).into())
        }
    }

    /// Gives an unknown restaurant the default settings; harmless where another call was first.
    pub(super) async fn provision(&self, restaurant: RestaurantId, context: &Context) -> Result<(), ServiceError> {
        let settings = self.default_settings(restaurant)?;
        self.allocator.configure(restaurant, &settings, true, context).await?;
        Ok(())
    }
}
