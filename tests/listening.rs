//! Connections: TLS and its certificate's renewal, proxies in front, and the limits on what clients may take.

mod support;

mod listening {
    mod limits;
    mod overload;
    mod proxies;
    mod tls;
}
