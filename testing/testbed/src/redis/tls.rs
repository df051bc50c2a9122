use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{fmt, fs};

use crate::account::Account;
use crate::error::Error;
use crate::port::Port;

/// A certificate and its key, with the authority that signed it; all in PEM.
pub(super) struct Certificate {
    authority: String,
    own: String,
    key: String,
}

impl Certificate {
    #[cfg(feature = "tls")]
    pub(super) fn make() -> Self {
        use rcgen::{
            BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
            KeyPair, KeyUsagePurpose,
        };

        let sound = "rcgen makes sound certificates of these constants";
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "testbed authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect(sound);
        let authority = params.self_signed(&key).expect(sound);
        let issuer = Issuer::new(params, key);

        let names = ["127.0.0.1", "localhost"].map(String::from);
        let mut params = CertificateParams::new(names).expect(sound);
        params.distinguished_name.push(DnType::CommonName, "testbed server");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Nodes of a cluster are each other's clients.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect(sound);
        let own = params.signed_by(&key, &issuer).expect(sound);
        Self { authority: authority.pem(), own: own.pem(), key: key.serialize_pem() }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A server's part in TLS.
#[derive(Debug)]
pub(super) struct Tls {
    port: Port,
    certificate: Arc<Certificate>,
    folder: PathBuf,
}

impl Tls {
    /// Puts the certificate where the server in `folder` can read it.
    pub(super) fn set_up(certificate: Arc<Certificate>, folder: &Path) -> Result<Self, Error> {
        let Certificate { authority, own, key } = &*certificate;
        for (name, pem) in [("ca.pem", authority), ("own.pem", own), ("key.pem", key)] {
            // Nobody else can look into the folder.
            let path = folder.join(name);
            let written = fs::write(&path, pem).and_then(|()| Account::of_servers().own(&path));
            written.map_err(Error::io(format!("writing {}", path.display())))?;
        }
        Ok(Self { port: Port::claim()?, certificate, folder: folder.to_owned() })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(super) fn ca_certificate(&self) -> &str {
        &self.certificate.authority
    }

    /// Lets a server speak TLS to applications, and to its cluster if it has one.
    pub(super) fn configure(&self, command: &mut Command, in_cluster: bool) {
        // First, for it is what a server without TLS complains of.
        command.args(["--tls-port", &self.port().to_string(), "--tls-auth-clients", "no"]);
        for (setting, name) in [
            ("--tls-ca-cert-file", "ca.pem"),
            ("--tls-cert-file", "own.pem"),
            ("--tls-key-file", "key.pem"),
        ] {
            command.arg(setting).arg(self.folder.join(name));
        }
        if in_cluster {
            command.args(["--tls-cluster", "yes", "--tls-replication", "yes"]);
        }
    }
}

/// Whether a server's last words were that it does not know TLS.
pub(super) fn is_unknown(log: &str) -> bool {
    log.contains(">>> 'tls-port ") && log.contains("Bad directive")
}
