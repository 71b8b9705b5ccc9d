//! Typed ids. Every one is a UUIDv7, so that ids sort by the time they were made.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    TenantId,
    /// A user of one tenant.
    UserId,
    /// A role of one tenant.
    RoleId,
    /// A published event.
    EventId,
    /// A job, deliveries of events included.
    JobId,
    /// A record of a collection.
    RecordId,
    /// One uploaded version of a plugin.
    VersionId,
    /// A sign-in: the family of its refresh tokens.
    SessionId,
    /// An API key.
    ApiKeyId,
    /// An invitation to join a tenant.
    InvitationId,
}
