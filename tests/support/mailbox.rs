//! Mails, as they arrive.

use std::{path::Path, path::PathBuf, time::Duration};

use mail_parser::MessageParser;
use tokio::time::sleep;

/// Where a host without SMTP writes its mails.
pub struct Mailbox(PathBuf);

/// A mail that arrived.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub from: String,
    pub subject: String,
    pub body: String,
    pub id: String,
}

impl Mail {
    pub fn parse(bytes: &[u8]) -> Self {
        let message = MessageParser::default().parse(bytes).unwrap();
        let address = |list: Option<&mail_parser::Address<'_>>| {
            let first = list.and_then(|list| list.first()).unwrap();
            format!("{} <{}>", first.name().unwrap_or_default(), first.address().unwrap())
        };
        Self {
            to: message.to().and_then(|to| to.first()).and_then(|to| to.address()).unwrap().to_owned(),
            from: address(message.from()),
            subject: message.subject().unwrap().to_owned(),
            body: message.body_text(0).unwrap().into_owned(),
            id: message.message_id().unwrap().to_owned(),
        }
    }
}

impl Mailbox {
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("mail"))
    }

    fn read(&self) -> Vec<Mail> {
        let files = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mails = files.filter(|path| path.extension().is_some_and(|e| e == "eml"));
        // One that is being written is read the next time.
        let whole =
            mails.filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, std::fs::read(path).ok()?)));
        let mut whole: Vec<_> = whole.filter(|(_, bytes)| !bytes.is_empty()).collect();
        whole.sort_by_key(|(at, _)| *at);
        whole.iter().map(|(_, bytes)| Mail::parse(bytes)).collect()
    }

    /// Mails to this address with this in their subject, once there are so many.
    pub async fn wait(&self, to: &str, subject: &str, count: usize) -> Vec<Mail> {
        for _ in 0..200 {
            let found = self.find(to, subject);
            if found.len() >= count {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no {count} mails `{subject}` to {to}: {:#?}", self.read());
    }

    pub fn find(&self, to: &str, subject: &str) -> Vec<Mail> {
        self.read().into_iter().filter(|mail| mail.to == to && mail.subject.contains(subject)).collect()
    }

    /// The token in the newest such mail.
    pub async fn token(&self, to: &str, subject: &str, count: usize) -> String {
        token_in(&self.wait(to, subject, count).await.last().unwrap().body)
    }
}

/// The token in a mail: what stands on a line of its own.
pub fn token_in(body: &str) -> String {
    let line = body.lines().map(str::trim).find(|line| line.starts_with("plt_") || line.starts_with("pli_"));
    line.unwrap_or_else(|| panic!("no token: {body}")).to_owned()
}
