//! Sending mails: through SMTP, or into a folder where no SMTP is set.

use std::{path::PathBuf, pin::Pin, time::Duration};

use lettre::{
    AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType},
    },
};
use purlin_service::mail::{Letter, SendError, SendMail};

use crate::{config::Config, data_dir};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Where mails go.
pub(crate) struct Mailer {
    from: Mailbox,
    transport: Transport,
}

enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(AsyncFileTransport<Tokio1Executor>),
}

impl Mailer {
    /// As the settings say.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let from: Mailbox = config.mail_from.parse().map_err(|error| format!("settings: `mail_from`: {error}"))?;
        let transport = match &config.smtp_url {
            Some(url) => {
                let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
                let builder = builder.map_err(|error| format!("settings: `smtp_url`: {error}"))?;
                Transport::Smtp(builder.timeout(Some(TIMEOUT)).build())
            }
            None => {
                let folder: PathBuf = config.mail_dir.clone().unwrap_or_else(|| config.data_dir.join("mail"));
                // What is in them is as good as a password.
                data_dir::prepare(&folder)?;
                Transport::Folder(AsyncFileTransport::new(folder))
            }
        };
        Ok(Self { from, transport })
    }

    async fn deliver(&self, letter: Letter) -> Result<(), SendError> {
        let refused = |error: &dyn std::fmt::Display| SendError::Refused(error.to_string());
        let to = letter.to.parse().map_err(|error: lettre::address::AddressError| refused(&error))?;
        let message = Message::builder()
            .from(Mailbox::new(Some(letter.from_name), self.from.email.clone()))
            .to(Mailbox::new(None, to))
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(unbroken(letter.body))
            .map_err(|error| refused(&error))?;
        match &self.transport {
            Transport::Smtp(smtp) => smtp.send(message).await.map(drop).map_err(|error| {
                if error.is_permanent() { refused(&error) } else { SendError::Failed(error.to_string()) }
            }),
            Transport::Folder(folder) => {
                folder.send(message).await.map(drop).map_err(|error| SendError::Failed(error.to_string()))
            }
        }
    }
}

/// Plain ASCII goes as it is, so that a token stands on one line also in the raw mail.
fn unbroken(body: String) -> Body {
    Body::new_with_encoding(body.clone(), ContentTransferEncoding::SevenBit).unwrap_or_else(|_| Body::new(body))
}

impl SendMail for Mailer {
    fn send(&self, letter: Letter) -> Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + '_>> {
        Box::pin(self.deliver(letter))
    }
}
