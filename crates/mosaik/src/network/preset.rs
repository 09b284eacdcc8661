//! [`Preset`]: how far a network reaches.

use core::{fmt, str::FromStr};

/// How far a network reaches, and by what its nodes find each other without being told.
///
/// The default is [`Preset::Internet`]; the environment variable `MOSAIK_PRESET`
/// (`isolated`, `local`, `lan`, `internet`) replaces the default, never an explicit choice.
/// [`with_addresses`] and [`with_relay_mode`] win over what a preset says of them.
///
/// [`with_addresses`]: crate::network::NetworkBuilder::with_addresses
/// [`with_relay_mode`]: crate::network::NetworkBuilder::with_relay_mode
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Loopback only, and only the peers it is given.
    Isolated,
    /// Loopback only; the processes of one user on one machine find each other by network name.
    Local,
    /// All interfaces and multicast DNS, besides what [`Preset::Local`] does. Nothing leaves the
    /// local network.
    Lan,
    /// All interfaces, relays and port mapping. No multicast DNS.
    #[default]
    Internet,
}

/// Not the name of a preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a preset; the presets are isolated, local, lan and internet")]
pub struct UnknownPreset(String);

impl Preset {
    /// The name of the environment variable that replaces the default.
    pub const ENV: &str = "MOSAIK_PRESET";

    /// The default, or what the environment puts in its place.
    pub fn from_env() -> Result<Self, UnknownPreset> {
        match std::env::var(Self::ENV) {
            Ok(name) => name.parse(),
            Err(std::env::VarError::NotPresent) => Ok(Self::default()),
            Err(std::env::VarError::NotUnicode(name)) => {
                Err(UnknownPreset(name.to_string_lossy().into_owned()))
            }
        }
    }

    /// Whether sockets are bound to loopback only, unless addresses are given.
    pub(crate) const fn is_loopback(self) -> bool {
        matches!(self, Self::Isolated | Self::Local)
    }

    /// Whether processes of one machine find each other through the rendezvous directory.
    pub(crate) const fn has_rendezvous(self) -> bool {
        matches!(self, Self::Local | Self::Lan)
    }

    /// Whether nodes of one local network find each other by multicast DNS.
    pub(crate) const fn has_mdns(self) -> bool {
        matches!(self, Self::Lan)
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        match name.to_ascii_lowercase().as_str() {
            "isolated" => Ok(Self::Isolated),
            "local" => Ok(Self::Local),
            "lan" => Ok(Self::Lan),
            "internet" => Ok(Self::Internet),
            _ => Err(UnknownPreset(name.to_owned())),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isolated => "isolated",
            Self::Local => "local",
            Self::Lan => "lan",
            Self::Internet => "internet",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for preset in [
            Preset::Isolated,
            Preset::Local,
            Preset::Lan,
            Preset::Internet,
        ] {
            assert_eq!(preset.to_string().parse(), Ok(preset));
        }
        assert_eq!("LAN".parse(), Ok(Preset::Lan));
        assert!(
            "wan"
                .parse::<Preset>()
                .unwrap_err()
                .to_string()
                .contains("wan")
        );
    }
}
