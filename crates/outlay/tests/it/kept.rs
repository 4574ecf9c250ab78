//! A restart behind a socket that somebody keeps: nobody is refused.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{Asks, Connection, Setup, raised_at_end, until};

#[test]
fn a_restart_behind_a_kept_socket_refuses_no_request() {
    let mut server = Setup::open().kept_socket().start();
    let address = server.address();
    let (ended, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let _ended = raised_at_end(&ended);
        for client in 0..4 {
            let (ended, sent, failed) = (&ended, &sent, &failed);
            scope.spawn(move || {
                for number in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = format!(
                        "{{\"operationId\":\"o-{client}-{number}\",\"userId\":\"u\",\"feature\":\"scan\",\"cost\":0.001}}"
                    );
                    let request = format!(
                        "POST /v1/usage HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
                         content-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    // A connection each, as a client makes one that has none left: none may be refused or cut.
                    let answer = Connection::open(address).and_then(|mut connection| connection.exchange(request.as_bytes()));
                    match answer {
                        Ok((reply, _)) if reply.status == 200 => sent.fetch_add(1, Ordering::SeqCst),
                        Ok((reply, _)) => return failed.lock().unwrap().push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => return failed.lock().unwrap().push(error.to_string()),
                    };
                }
            });
        }
        for _ in 0..5 {
            let before = sent.load(Ordering::SeqCst);
            until("some were answered", || {
                sent.load(Ordering::SeqCst) >= before + 40 || !failed.lock().unwrap().is_empty()
            });
            assert!(server.stop().success());
            server.start_again();
        }
    });
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!(server.address(), address);
    let user = server.get("/v1/users/u").is(200);
    let picos = i128::try_from(sent.load(Ordering::SeqCst)).unwrap() * 1_000_000_000;
    assert_eq!(user.pico("/monthlyTotalCost"), picos);
    server.verifies();
}
