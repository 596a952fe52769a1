//! A TURN server that knows users as coturn does with `use-auth-secret`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use tokio::net::UdpSocket;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

pub(crate) struct TurnServer {
    pub(crate) address: SocketAddr,
    users: Arc<Users>,
    _server: Server,
}

struct Users {
    secret: Vec<u8>,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    seen: BTreeSet<String>,
    expired: BTreeSet<String>,
}

impl TurnServer {
    pub(crate) async fn start(secret: &[u8]) -> Self {
        let here = Ipv4Addr::LOCALHOST;
        let conn = Arc::new(UdpSocket::bind((here, 0)).await.unwrap());
        let address = conn.local_addr().unwrap();
        let relay_addr_generator = Box::new(RelayAddressGeneratorStatic {
            relay_address: IpAddr::V4(here),
            address: here.to_string(),
            net: Arc::new(Net::new(None)),
        });
        let users = Arc::new(Users { secret: secret.to_vec(), names: Mutex::default() });
        let server = Server::new(ServerConfig {
            conn_configs: vec![ConnConfig { conn, relay_addr_generator }],
            realm: "here".to_owned(),
            auth_handler: users.clone(),
            channel_bind_timeout: Duration::ZERO,
            alloc_close_notify: None,
        });
        Self { address, users, _server: server.await.unwrap() }
    }

    /// Refuses all users who have come so far, as if the time in their names had come.
    pub(crate) fn expire(&self) {
        let mut names = self.users.names.lock().unwrap();
        names.expired = names.seen.clone();
    }
}

impl AuthHandler for Users {
    fn auth_handle(&self, user: &str, realm: &str, _from: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        let mut names = self.names.lock().unwrap();
        names.seen.insert(user.to_owned());
        if names.expired.contains(user) {
            return Err(turn::Error::Other(format!("{user} has expired")));
        }
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&self.secret).unwrap();
        mac.update(user.as_bytes());
        Ok(generate_auth_key(user, realm, &BASE64.encode(&mac.finalize().into_bytes())))
    }
}
