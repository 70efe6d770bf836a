//! Where the HTTP API listens: an address or a host name, and a port.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::Authority;

/// `127.0.0.1:8042`, `[::1]:8042`, `localhost:8042`. What a name stands for is looked up when it is listened on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(Authority);

impl ListenAddress {
    /// As a request would name it.
    pub(crate) const fn authority(&self) -> &Authority {
        &self.0
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = text.trim().parse::<Authority>().ok().filter(|read| read.port().is_some());
        read.map(Self).ok_or_else(|| {
            format!(
                "\"{text}\" is no address or host name with a port, such as 127.0.0.1:8042, [::1]:8042 or localhost:8042; \
                 write 0.0.0.0:8042 for all interfaces"
            )
        })
    }
}

impl From<ListenAddress> for String {
    fn from(ListenAddress(authority): ListenAddress) -> Self {
        authority.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read_with_their_port() {
        for (text, read) in [
            ("127.0.0.1:8042", "127.0.0.1:8042"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:8042", "[::1]:8042"),
            ("localhost:8042", "localhost:8042"),
            ("Kitchen-1.shop.example:80", "kitchen-1.shop.example:80"),
        ] {
            assert_eq!(ListenAddress::try_from(text.to_owned()).map(String::from), Ok(read.to_owned()));
        }
        for bad in
            ["", "8042", ":8042", "localhost", "localhost:", "::1:8042", "*:8042", "localhost:http", "a b:1", "a:65536"]
        {
            let refused = ListenAddress::try_from(bad.to_owned());
            assert!(refused.is_err_and(|reason| reason.contains("localhost:8042")), "{bad}");
        }
    }
}
