//! Mails, as an SMTP server gets them.

use std::sync::{Arc, Mutex};

use purlin_test_macros::db_test;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use crate::support::{Database, Host, Mail, Options, token_in};

/// A small SMTP server that keeps what it is sent, and turns the first tries away.
struct Sink {
    port: u16,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Sink {
    async fn start(mut refusals: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let refuse = refusals > 0;
                refusals = refusals.saturating_sub(1);
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    stream.write_all(b"220 sink\r\n").await.unwrap();
                    let mut line = String::new();
                    while {
                        line.clear();
                        stream.read_line(&mut line).await.unwrap_or(0) > 0
                    } {
                        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                        let answer: &[u8] = match verb.as_str() {
                            "EHLO" | "HELO" => b"250 sink\r\n",
                            "MAIL" if refuse => b"451 come again\r\n",
                            "DATA" => {
                                stream.write_all(b"354 go on\r\n").await.unwrap();
                                let mut text = String::new();
                                while {
                                    line.clear();
                                    stream.read_line(&mut line).await.unwrap_or(0) > 0 && line != ".\r\n"
                                } {
                                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                                }
                                kept.lock().unwrap().push(Mail::parse(text.as_bytes()));
                                b"250 kept\r\n"
                            }
                            "QUIT" => {
                                drop(stream.write_all(b"221 bye\r\n").await);
                                return;
                            }
                            _ => b"250 ok\r\n",
                        };
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, mails }
    }

    async fn wait(&self, count: usize) -> Vec<Mail> {
        for _ in 0..300 {
            let mails = self.mails.lock().unwrap().clone();
            if mails.len() >= count {
                return mails;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("no {count} mails: {:#?}", self.mails.lock().unwrap());
    }
}

#[db_test]
async fn mails_go_through_smtp_are_tried_again_and_cannot_be_forged_by_names(database: Database) {
    let sink = Sink::start(1).await;
    let options = Options::default()
        .set("PURLIN_SMTP_URL", format!("smtp://127.0.0.1:{}", sink.port))
        .set("PURLIN_MAIL_FROM", "no-reply@purlin.example")
        .set("PURLIN_PUBLIC_URL", "https://app.purlin.example/");
    let host = Host::start_with(database, options).await;
    let named = |name: &str| {
        json!({
            "tenant": { "name": name, "slug": "acme" },
            "email": "ada@acme.example", "password": "correct horse battery", "first_name": "Ada",
        })
    };
    let forged = named("Acme\r\nBcc: all@acme.example");
    assert_eq!(host.anonymous().post("/api/v1/auth/register", &forged).await.problem(422), "invalid");
    let registration = named("Acme, Tools: Inc");
    let ada = host.anonymous().signed_in("/api/v1/auth/register", &registration, 201).await;
    // The first try is turned away for now; the job comes again.
    let mail = sink.wait(1).await.remove(0);
    assert_eq!(mail.to, "ada@acme.example");
    assert_eq!(mail.from, "Acme, Tools: Inc <no-reply@purlin.example>");
    assert_eq!(mail.subject, "Welcome to Acme, Tools: Inc");
    assert!(
        mail.body.contains("Hello Ada,") && mail.body.contains("https://app.purlin.example/verify-email?token=plt_"),
        "{}",
        mail.body
    );
    let job = &ada.rows("/api/v1/jobs?filter[kind]=send_welcome_email").await[0];
    assert_eq!(mail.id, format!("{}@purlin.example", job["id"].as_str().unwrap()));
    let done = ada.wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!((&done["state"], &done["attempt"]), (&json!("succeeded"), &json!(2)));
    let token = json!({ "token": token_in(&mail.body) });
    host.anonymous().post("/api/v1/auth/email/verify", &token).await.expect(204);
    assert!(!done.to_string().contains(&token_in(&mail.body)), "a job does not show what its mail carries");
}
