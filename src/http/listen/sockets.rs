//! The sockets that are listened on: a host name may stand for several addresses.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    task::Poll,
};

use tokio::net::{TcpListener, TcpStream, lookup_host};

use crate::config::ListenAddress;

/// The addresses that a setting stands for, each once; at least one.
///
/// # Errors
/// When the name is not known.
pub(crate) async fn addresses_of(listen: &ListenAddress) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in lookup_host(listen.to_string()).await? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, "the name stands for no address"));
    }
    Ok(addresses)
}

/// All sockets, each bound.
#[derive(Debug)]
pub(crate) struct Sockets {
    all: Vec<TcpListener>,
    /// The one that is asked first, so that none waits behind a busy one.
    first: usize,
}

impl Sockets {
    /// Binds each address. One that this machine does not have (IPv6 may be switched off, and its hosts file names `::1`
    /// all the same) is left out where another one is there. Port 0 becomes the same free port for all.
    ///
    /// # Errors
    /// With the address, where one is taken or not allowed, or none is there.
    pub(crate) async fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let (mut all, mut missing): (Vec<TcpListener>, _) = (Vec::new(), None);
        for &wanted in addresses {
            let mut address = wanted;
            if let (0, Some(Ok(bound))) = (wanted.port(), all.first().map(TcpListener::local_addr)) {
                address.set_port(bound.port());
            }
            match TcpListener::bind(address).await {
                Ok(socket) => all.push(socket),
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                    tracing::debug!(%address, %error, "not listened on");
                    missing = Some((address, error));
                }
                Err(error) => return Err((address, error)),
            }
        }
        match missing {
            Some(missing) if all.is_empty() => Err(missing),
            _ => Ok(Self { all, first: 0 }),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When a socket is closed.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.all.iter().map(TcpListener::local_addr).collect()
    }

    /// The next connection, with its peer, and the address that was listened on.
    pub(super) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, Option<IpAddr>)> {
        let (count, first) = (self.all.len(), self.first);
        let (at, accepted) = poll_fn(|context| {
            for turn in 0..count {
                let at = (first + turn) % count;
                if let Poll::Ready(accepted) = self.all[at].poll_accept(context) {
                    return Poll::Ready((at, accepted));
                }
            }
            Poll::Pending
        })
        .await;
        self.first = (at + 1) % count;
        let (stream, peer) = accepted?;
        let address = self.all[at].local_addr().ok().map(|address| address.ip().to_canonical());
        Ok((stream, peer, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> ListenAddress {
        ListenAddress::try_from(text.to_owned()).expect("an address with a port")
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses() {
        let addresses = addresses_of(&listen("localhost:0")).await.expect("every machine knows it");
        assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
        let mut sockets = Sockets::bind(&addresses).await.expect("a port is free");
        let bound = sockets.addresses().expect("they are bound");
        assert!(bound.iter().all(|address| address.port() == bound[0].port()), "{bound:?}");
        for address in bound.iter().chain(&bound) {
            let (connected, accepted) = tokio::join!(TcpStream::connect(address), sockets.accept());
            let (_, peer, at) = accepted.expect("it is accepted");
            assert_eq!(peer, connected.expect("it is listened on").local_addr().expect("it is connected"));
            assert_eq!(at, Some(address.ip()));
        }
        let taken = Sockets::bind(&bound).await.expect_err("they are taken");
        assert_eq!((taken.0, taken.1.kind()), (bound[0], ErrorKind::AddrInUse));
    }

    #[tokio::test]
    async fn an_address_that_is_not_here_is_left_out_where_another_one_is() {
        // Of a network for documents: no machine has it.
        let (here, gone): (SocketAddr, SocketAddr) =
            ("127.0.0.1:0".parse().expect("one"), "192.0.2.1:0".parse().expect("one"));
        let sockets = Sockets::bind(&[gone, here]).await.expect("one is here");
        assert_eq!(sockets.addresses().expect("it is bound").len(), 1);
        let refused = Sockets::bind(&[gone]).await.expect_err("none is here");
        assert_eq!((refused.0, refused.1.kind()), (gone, ErrorKind::AddrNotAvailable));
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_is_an_error() {
        addresses_of(&listen("does.not.exist.invalid:1")).await.expect_err("it stands for nothing");
        let one = addresses_of(&listen("[::1]:7")).await.expect("an address stands for itself");
        assert_eq!(one, ["[::1]:7".parse().expect("one")]);
    }
}
