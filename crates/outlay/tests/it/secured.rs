//! Over TLS: what is believed is spoken to, and nothing else.

use crate::support::{ADMIN, Ran, Setup, SmtpReceiver, TlsFront, certificate, outlay_with_environment};

#[test]
fn commands_reach_a_server_over_https_where_its_certificate_is_believed() {
    let server = Setup::keyed().start();
    let front = TlsFront::before(server.address());
    let url = format!("https://localhost:{}", front.port);
    let certificate = front.certificate.to_str().unwrap();
    let record = ["record", "--user", "u", "--feature", "scan", "--cost", "0.5", "--url", &url];
    let key = ("OUTLAY_KEY", ADMIN);
    let ran = outlay_with_environment(&record, &[key]).exits(1);
    assert!(ran.err.contains("invalid peer certificate"), "{ran:?}");
    outlay_with_environment(&record, &[key, ("SSL_CERT_FILE", certificate)]).exits(0);
    let budget = ["budget", "u", "--json", "--url", &url];
    let ran = outlay_with_environment(&budget, &[key, ("SSL_CERT_FILE", certificate)]).exits(0);
    ran.json().shows("/meters/cost/used", "0.5");

    // The same certificate is for another name.
    let other = format!("https://127.0.0.1:{}", front.port);
    let ran =
        outlay_with_environment(&["budget", "u", "--url", &other], &[key, ("SSL_CERT_FILE", certificate)]).exits(1);
    assert!(ran.err.contains("invalid peer certificate"), "{ran:?}");

    // And the doctor sees the server as others do: over https, with its events.
    let doctor = ["doctor", "--json", "--public-url", &url, "--listen", &server.address().to_string()];
    let ran = server.outlay_with(&doctor, &[("SSL_CERT_FILE", certificate), ("OUTLAY_ADMIN_KEY", ADMIN)]).exits(0);
    assert!(ran.out.contains("events come through"), "{ran:?}");
}

/// `outlay doctor` of a server that would mail by this server.
fn doctor(url: &str, certificate: Option<&str>) -> Ran {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["doctor", "--json", "--data", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut environment = vec![("OUTLAY_SMTP_URL", url), ("OUTLAY_MAIL_FROM", "outlay@example.org")];
    environment.extend(certificate.map(|certificate| ("SSL_CERT_FILE", certificate)));
    outlay_with_environment(&arguments, &environment)
}

#[test]
fn mail_goes_over_tls_and_its_password_to_nobody_who_is_not_believed() {
    let receiver = SmtpReceiver::start();
    let front = TlsFront::before(receiver.address());
    let url = format!("smtps://ada:secret@localhost:{}", front.port);
    let ran = doctor(&url, None).exits(1);
    assert!(ran.out.contains("no safe connection to the mail server"), "{ran:?}");
    assert_eq!(receiver.sender(), None);
    doctor(&url, front.certificate.to_str()).exits(0);
    assert_eq!(receiver.sender(), Some(("ada".to_owned(), "secret".to_owned())));
    assert!(receiver.mails().is_empty());
}

#[test]
fn after_starttls_mail_goes_to_nobody_else_either() {
    let certified = certificate();
    let receiver = SmtpReceiver::with_tls(certified.config.clone());
    let url = receiver.url().replace("//127.0.0.1", "//ada:secret@localhost") + "?tls=required";
    let ran = doctor(&url, None).exits(1);
    assert!(ran.out.contains("no safe connection to the mail server"), "{ran:?}");
    assert_eq!(receiver.sender(), None);
    doctor(&url, certified.file.to_str()).exits(0);
    assert_eq!(receiver.sender(), Some(("ada".to_owned(), "secret".to_owned())));
}
