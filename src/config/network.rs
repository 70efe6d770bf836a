//! A network or one address of it, as settings name them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Some addresses: `10.1.0.0/16`, or one: `fd00::7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let one = text.parse::<IpAddr>().map(IpNet::from);
        one.or_else(|_| text.parse().map(|network: IpNet| network.trunc()))
            .map(Self)
            .map_err(|_| format!("\"{text}\" is no address or network, such as 10.1.0.7 or 10.1.0.0/16"))
    }
}

impl From<Network> for String {
    fn from(Network(network): Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        let read = |text: &str| Network::try_from(text.to_owned()).map(String::from);
        assert_eq!(read("10.1.0.7"), Ok("10.1.0.7/32".into()));
        assert_eq!(read("10.1.2.3/16"), Ok("10.1.0.0/16".into()));
        assert_eq!(read("fd00::7"), Ok("fd00::7/128".into()));
        for bad in ["", "10.1.0", "10.1.0.0/33", "proxy.internal", "10.1.0.0/16,10.2.0.0/16"] {
            assert!(read(bad).is_err_and(|reason| reason.contains("10.1.0.0/16")), "{bad}");
        }
    }
}
