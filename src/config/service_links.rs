//! Variables that are not meant for this program though they begin as its own do: for each Service of a namespace,
//! Kubernetes puts some into every pod, and so for one that is called `nowserving` or `nowserving-redis`. Docker's links
//! made the same.

use std::net::IpAddr;

/// Protocols of a Service.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable is one of those: by its name, behind `NOWSERVING_`, and its value, so that a `NOWSERVING_PORT=8042`
/// that a person wrote is told from the `NOWSERVING_PORT=tcp://10.0.0.7:8042` of a Service.
pub(super) fn is_service_link(rest: &str, value: &str) -> bool {
    let is_number = value.parse::<u16>().is_ok();
    let is_address = value.parse::<IpAddr>().is_ok();
    if ends_with_words(rest, "SERVICE_HOST") {
        return is_address;
    }
    // SERVICE_PORT, and SERVICE_PORT_HTTP for a port that has a name.
    if ends_with_words(rest, "SERVICE_PORT") || rest.starts_with("SERVICE_PORT_") || rest.contains("_SERVICE_PORT_") {
        return is_number;
    }
    match port_part(rest) {
        Some("") => is_url(value),
        Some("_PROTO") => PROTOCOLS.iter().any(|protocol| value.eq_ignore_ascii_case(protocol)),
        Some("_PORT") => is_number,
        Some("_ADDR") => is_address,
        Some(_) => false,
        None => ends_with_words(rest, "PORT") && is_url(value),
    }
}

/// `words`, or `…_words`.
fn ends_with_words(name: &str, words: &str) -> bool {
    name.strip_suffix(words).is_some_and(|before| before.is_empty() || before.ends_with('_'))
}

/// `tcp://10.0.0.7:8042`
fn is_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(scheme, rest)| {
        PROTOCOLS.iter().any(|protocol| scheme.eq_ignore_ascii_case(protocol)) && rest.contains(':')
    })
}

/// What stands behind `PORT_8042_TCP`; None where no such thing is in the name.
fn port_part(name: &str) -> Option<&str> {
    name.match_indices("PORT_").find_map(|(at, word)| {
        let is_word = at == 0 || name[..at].ends_with('_');
        let (port, rest) = name[at + word.len()..].split_once('_')?;
        let is_port = is_word && port.parse::<u16>().is_ok();
        is_port.then(|| PROTOCOLS.iter().find_map(|protocol| rest.strip_prefix(protocol)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_makes_is_told_from_what_a_person_wrote() {
        for (rest, value) in [
            ("SERVICE_HOST", "10.0.0.7"),
            ("SERVICE_HOST", "fd00::7"),
            ("SERVICE_PORT", "8042"),
            ("SERVICE_PORT_HTTP", "8042"),
            ("SERVICE_PORT_HTTP_METRICS", "9090"),
            ("PORT", "tcp://10.0.0.7:8042"),
            ("PORT", "udp://[fd00::7]:53"),
            ("PORT_8042_TCP", "tcp://10.0.0.7:8042"),
            ("PORT_8042_TCP_PROTO", "tcp"),
            ("PORT_8042_TCP_PORT", "8042"),
            ("PORT_8042_TCP_ADDR", "10.0.0.7"),
            ("PORT_53_UDP_ADDR", "fd00::7"),
            ("REDIS_SERVICE_HOST", "10.0.0.8"),
            ("REDIS_SERVICE_PORT_REDIS", "6379"),
            ("REDIS_PORT", "tcp://10.0.0.8:6379"),
            ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.8"),
            ("REDIS_MASTER_0_PORT_6379_TCP", "tcp://10.0.0.8:6379"),
            ("EXPORT_PORT_8042_TCP", "tcp://10.0.0.7:8042"),
        ] {
            assert!(is_service_link(rest, value), "{rest}={value}");
        }
        for (rest, value) in [
            ("PORT", "8042"),
            ("PORT", "localhost:8042"),
            ("PORT", "redis://host:1"),
            ("REDIS_PORT", "6379"),
            ("REDIS_HOST", "10.0.0.8"),
            ("SERVICE_HOST", "redis.internal"),
            ("SERVICE_PORT", "http"),
            ("OTLP_SERVICE", "10.0.0.8"),
            ("REPORT_8042_TCP", "tcp://10.0.0.7:8042"),
            ("PORT_8042", "tcp://10.0.0.7:8042"),
            ("PORT_8042_TCP_NAME", "x"),
            ("PORT_HTTP_TCP", "tcp://10.0.0.7:8042"),
            ("LISTEN", "tcp://10.0.0.7:8042"),
            ("", "x"),
        ] {
            assert!(!is_service_link(rest, value), "{rest}={value}");
        }
    }
}
