//! What a refused connection means, in words of the config.

use super::Address;

/// Why a connection was refused, and what to do about it. `error` is the client's own word, which stays: others look
/// for it.
pub fn refused(error: &str, tls: bool, address: &Address) -> String {
    match hint(error, tls, address) {
        Some(hint) => format!("{hint} ({error})"),
        None => error.to_owned(),
    }
}

fn hint(error: &str, tls: bool, address: &Address) -> Option<&'static str> {
    let says = |word: &str| error.contains(word);
    if says("ACCESS_REFUSED") {
        return Some("the user or the password is refused");
    }
    if !tls {
        return None;
    }
    if says("UnknownIssuer") {
        return Some(match &address.ca {
            Some(pem) if !pem.contains("BEGIN CERTIFICATE") => "`ca_file` holds no certificate",
            Some(_) => "its certificate is signed neither by `ca_file` nor by a root that this system trusts",
            None => "its certificate is signed by no root that this system trusts: name its root as `ca_file`",
        });
    }
    let hint = if says("KeyMismatch") {
        "`client_key` is not the key of `client_cert`"
    } else if says("no items found") {
        "`client_key` holds no private key"
    } else if says("InvalidContentType") {
        "this port does not speak TLS: 5671 is the usual one for `amqps`"
    } else if address.identity.is_none()
        && ["CertificateRequired", "reset", "eof", "closed"].iter().any(|word| says(word))
    {
        "it ended the handshake, as one does that demands a `client_cert`"
    } else if address.identity.is_some() && says("fatal alert") {
        "it does not take `client_cert`"
    } else {
        return None;
    };
    Some(hint)
}
