//! Connections: TLS and its certificate's renewal, proxies in front, the limits on what clients may take, and the web
//! pages that may not use a browser to get in.

mod limits;
mod overload;
mod prefixes;
mod proxies;
mod strangers;
mod tls;
