//! Certificates of one cluster: an authority each for the cluster, for aggregated API servers, and for KEDA.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate authority, and its certificate as a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub file: PathBuf,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority whose certificate is `FOLDER/ca.crt`.
    pub fn new(folder: &Path, name: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = folder.join("ca.crt");
        fs::write(&file, issuer.pem())?;
        Ok(Self { issuer, file })
    }

    /// The authority's certificate, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `FOLDER/NAME.crt` and `.key`: a certificate for a user of an (optional) group who is also a server at
    /// `hosts`.
    pub fn issue(
        &self,
        folder: &Path,
        name: &str,
        (user, group): (&str, Option<&str>),
        hosts: &[&str],
    ) -> anyhow::Result<Pair> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let pair = Pair {
            cert: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&pair.cert, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}

/// The key pair that signs tokens of service accounts: `sa.key` and `sa.pub`.
pub fn token_keys(folder: &Path) -> anyhow::Result<Pair> {
    let key = KeyPair::generate()?;
    let pair = Pair { cert: folder.join("sa.pub"), key: folder.join("sa.key") };
    fs::write(&pair.cert, key.public_key_pem())?;
    fs::write(&pair.key, key.serialize_pem())?;
    Ok(pair)
}
