//! Encrypted connections: certificates of an authority that a test makes for itself, and what has to come of them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sagaz_brokers::{Options, Routes, Subscription};
use sagaz_core::{
    Event,
    broker::{Broker, BrokerError, Subscriber},
};
use std::{fs, path::Path};

/// An authority, and what it has signed, in PEM.
pub(crate) struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    /// Of a server on this machine and a client of it.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut authority = named("authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = authority.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(authority, key);
        let signed = |name, purpose| {
            let key = KeyPair::generate().expect("a key");
            let mut params = named(name);
            params.extended_key_usages = vec![purpose];
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        Self {
            authority: certificate.pem(),
            server: signed("server", ExtendedKeyUsagePurpose::ServerAuth),
            client: signed("client", ExtendedKeyUsagePurpose::ClientAuth),
        }
    }

    /// `ca.pem`, `server.pem` and `server.key`, for the server.
    pub(crate) fn write_to(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        let (certificate, key) = &self.server;
        for (name, pem) in [
            ("ca.pem", &self.authority),
            ("server.pem", certificate),
            ("server.key", key),
        ] {
            fs::write(folder.join(name), pem).expect("a file");
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Events go there and come back where both ends show a certificate that the other one trusts. Whoever trusts another authority than
/// the server's, or shows no certificate, is not let in, and is told what to look at.
pub(crate) async fn check(url: &str, topic: &str, certificates: &Certificates) {
    let routes = Routes::all_to(topic).expect("a route");
    let plain = || Options::new().declare(true).routes(routes.clone());
    let (certificate, key) = &certificates.client;
    let showing = || plain().identity(certificate.as_str(), key.as_str());

    let options = showing().trust(certificates.authority.as_str());
    let subscription = Subscription::new("group", [topic]);
    let subscriber = options.subscribe(url, subscription).await;
    let mut subscriber = subscriber.expect("a subscriber");
    let broker = options.connect(url).await.expect("a broker");
    let event = Event::new("order.placed", &1).source("/shop").key("key");
    let published = broker.publish(std::slice::from_ref(&event)).await;
    assert!(published[0].is_ok(), "{published:?}");
    let delivery = subscriber.receive().await.expect("a message");
    assert_eq!(delivery.event, Ok(event));

    let another = Certificates::new().authority;
    assert_told(async || showing().trust(another.clone()).connect(url).await).await;
    assert_told(async || showing().connect(url).await).await;
    let anonymous = plain().trust(certificates.authority.as_str());
    assert_told(async || anonymous.connect(url).await).await;
    let subscription = || Subscription::new("group", [topic]);
    assert_told(async || anonymous.subscribe(url, subscription()).await).await;
}

/// A server that closes at once may have its client find the end of the connection, and not why: then it is asked again.
async fn assert_told<T: std::fmt::Debug>(connect: impl AsyncFn() -> Result<T, BrokerError>) {
    for _ in 0..50 {
        let error = connect().await.expect_err("it must not be let in");
        if error.is_unavailable() {
            continue;
        }
        assert!(error.is_misuse(), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
        return;
    }
    panic!("it is never told why it is not let in");
}
