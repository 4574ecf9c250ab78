//! Letters as they are written, and a real server that takes them, or does not.

#[path = "../../../tests/it/support/smtp.rs"]
#[expect(dead_code, reason = "the black box asks for more of it")]
mod smtp;

use super::*;
use smtp::{Smtp, SmtpReceiver};

fn mailer(url: &str) -> Mailer {
    Mailer::new(&MailSettings {
        server: SmtpServer::parse(url).unwrap(),
        from: "Outlay <outlay@example.org>".parse().unwrap(),
        operator: None,
        to_users: true,
        templates: None,
    })
    .unwrap()
}

fn letter() -> Letter {
    Letter {
        to: "ada@example.org".to_owned(),
        id: "alert_1".to_owned(),
        subject: "80% used".to_owned(),
        text: "text".to_owned(),
        html: "<p>html</p>".to_owned(),
    }
}

fn written(letter: &Letter) -> Result<String, Failure> {
    mailer("smtp://127.0.0.1:1").message(letter).map(|message| String::from_utf8(message.formatted()).unwrap())
}

#[test]
fn a_letter_has_the_headers_of_one_that_a_machine_wrote() {
    let text = written(&letter()).unwrap();
    for line in [
        "From: Outlay <outlay@example.org>\r\n",
        "To: ada@example.org\r\n",
        "Subject: 80% used\r\n",
        "Message-ID: <alert_1@example.org>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "MIME-Version: 1.0\r\n",
        "Content-Type: multipart/alternative;",
        "<p>html</p>",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(text.contains("\r\nDate: "), "{text}");
}

#[test]
fn nothing_that_is_said_in_a_letter_becomes_a_header() {
    let injected = "x\r\nBcc: eve@example.org\r\n\r\nnew body\n.\nDATA";
    let subject = written(&Letter { subject: injected.to_owned(), ..letter() }).unwrap();
    let (head, _) = subject.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    for to in [
        "",
        "ada",
        "ada@",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org, eve@example.org",
        "Ada <ada@example.org>",
        "ada@example.org>\r\nRCPT TO:<eve@example.org",
    ] {
        let failure = written(&Letter { to: to.to_owned(), ..letter() }).unwrap_err();
        assert!(failure.kept && !failure.reason.contains("eve"), "{to:?} {failure:?}");
    }
    for id in ["", "a b", "a>\r\nBcc: eve@example.org", "a@b", "<a"] {
        assert!(written(&Letter { id: id.to_owned(), ..letter() }).unwrap_err().kept, "{id:?}");
    }
}

#[test]
fn a_reply_is_kept_short_and_without_addresses() {
    assert_eq!(
        without_addresses("5.1.1 <ada@example.org>: Recipient\r\naddress\u{1b}[31m rejected"),
        "5.1.1 (address) Recipient address [31m rejected"
    );
    assert_eq!(without_addresses(&"a".repeat(1_000)).len(), REPLY_MAX);
}

#[tokio::test]
async fn a_letter_arrives_as_it_was_written() {
    let receiver = SmtpReceiver::start();
    let text = "80 % used: \u{c4}rger, a line of its own:\n.\nand the end".to_owned();
    let tried = mailer(&receiver.url()).send(&Letter { text: text.clone(), ..letter() }).await;
    assert_eq!(tried, Tried::Delivered { status: Some(250) });
    let mails = receiver.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("outlay@example.org", &["ada@example.org".to_owned()][..]));
    assert_eq!(mail.header("message-id").as_deref(), Some("<alert_1@example.org>"));
    assert_eq!(mail.part("text/plain").unwrap().trim_end(), text);
    assert_eq!(mail.part("text/html").unwrap().trim_end(), "<p>html</p>");
    assert_eq!(receiver.sender(), None);
}

#[tokio::test]
async fn what_a_server_says_becomes_of_the_try_what_it_means() {
    let receiver =
        SmtpReceiver::doing(&[Smtp::Greylists, Smtp::Refuses, Smtp::RefusesSender, Smtp::DiesAfterData, Smtp::Takes]);
    let url = receiver.url().replace("//", "//ada:p%40ss@");
    let mailer = mailer(&url);
    let mut failures = Vec::new();
    for _ in 0..4 {
        let Tried::Failed(failure) = mailer.send(&letter()).await else { panic!("delivered") };
        failures.push((failure.status, failure.kept, failure.reason));
    }
    assert_eq!(
        failures,
        [
            (Some(451), false, "answered 451: 4.7.1 Greylisted, try again later".to_owned()),
            (Some(550), true, "answered 550: 5.1.1 (address) no such user".to_owned()),
            // The operator may mend it, and then the letter goes.
            (Some(535), false, "answered 535: 5.7.8 Authentication failed".to_owned()),
            (None, false, "the mail server broke off, or does not speak SMTP".to_owned()),
        ]
    );
    assert_eq!(mailer.send(&letter()).await, Tried::Delivered { status: Some(250) });
    // The one that nobody knows of and the one after it are the same letter to whoever reads them.
    let mails = receiver.mails();
    assert_eq!(mails.iter().map(|mail| mail.acknowledged).collect::<Vec<_>>(), [false, true]);
    assert_eq!(mails[0].header("message-id"), mails[1].header("message-id"));
    assert_eq!(receiver.sender(), Some(("ada".to_owned(), "p@ss".to_owned())));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_and_one_that_is_down_may_come_back() {
    let receiver = SmtpReceiver::doing(&[Smtp::Hangs]);
    let impatient = Mailer { total: Duration::from_millis(300), ..mailer(&receiver.url()) };
    let Tried::Failed(failure) = impatient.send(&letter()).await else { panic!("delivered") };
    assert!(failure.reason.starts_with("the mail server was not done within") && !failure.kept, "{failure:?}");

    receiver.goes_down();
    let mailer = mailer(&receiver.url());
    let Tried::Failed(failure) = mailer.send(&letter()).await else { panic!("delivered") };
    assert_eq!(failure.reason, "no connection to the mail server: connection refused");
    assert!(mailer.check().await.is_err());
    receiver.comes_back();
    assert_eq!(mailer.check().await, Ok(()));
    assert!(receiver.mails().is_empty());
    assert_eq!(mailer.send(&letter()).await, Tried::Delivered { status: Some(250) });
    assert_eq!(receiver.mails().len(), 1);
}

#[tokio::test]
async fn without_the_encryption_that_is_asked_for_no_password_is_said() {
    let receiver = SmtpReceiver::start();
    let url = format!("{}?tls=required", receiver.url().replace("//", "//ada:secret@"));
    let Tried::Failed(failure) = mailer(&url).send(&letter()).await else { panic!("delivered") };
    assert!(failure.reason.starts_with("the mail server does not do what is needed"), "{failure:?}");
    let url = receiver.url().replace("smtp://", "smtps://ada:secret@");
    let Tried::Failed(_) = mailer(&url).send(&letter()).await else { panic!("delivered") };
    assert_eq!((receiver.sender(), receiver.mails().len()), (None, 0));
}
