//! Mails: written from templates here, sent by whatever the host was given.

use std::{pin::Pin, sync::LazyLock};

use minijinja::{AutoEscape, Environment, context};
use purlin_domain::{Json, id::JobId};
use purlin_store::tenants::Tenant;

use crate::{Platform, Result, ServiceError};

/// A mail, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// To whom.
    pub to: String,
    /// Who sends it, for people; the address is the host's.
    pub from_name: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub body: String,
    /// Makes a repetition recognisable: the job that sends it.
    pub id: String,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It never will be, such as when the address does not exist.
    #[error("{0}")]
    Refused(String),
    /// It may be later.
    #[error("{0}")]
    Failed(String),
}

/// Sends mails.
pub trait SendMail: Send + Sync {
    /// Send this one.
    fn send(&self, letter: Letter) -> Pin<Box<dyn Future<Output = std::result::Result<(), SendError>> + Send + '_>>;
}

/// Each template is a subject line, an empty line, and the text.
static TEMPLATES: LazyLock<std::result::Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut all = Environment::new();
    // Mails are plain text.
    all.set_auto_escape_callback(|_| AutoEscape::None);
    all.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    all.add_template("welcome", include_str!("mail/welcome.txt"))?;
    all.add_template("verification", include_str!("mail/verification.txt"))?;
    all.add_template("password_reset", include_str!("mail/password_reset.txt"))?;
    all.add_template("email_changed", include_str!("mail/email_changed.txt"))?;
    all.add_template("invitation", include_str!("mail/invitation.txt"))?;
    all.add_template("webhook_disabled", include_str!("mail/webhook_disabled.txt"))?;
    all.add_template("webhook_orphaned", include_str!("mail/webhook_orphaned.txt"))?;
    Ok(all)
});

/// Write a mail from its template.
pub(crate) fn write(
    platform: &Platform,
    template: &str,
    tenant: &Tenant,
    to: &str,
    name: Option<&str>,
    token: &str,
    job: JobId,
) -> Result<Letter> {
    let templates = TEMPLATES.as_ref().map_err(ServiceError::internal)?;
    let text = templates
        .get_template(template)
        .and_then(|template| {
            template.render(context! {
                tenant => one_line(&tenant.name),
                name => name.map(one_line).unwrap_or_default(),
                token => token,
                url => platform.settings.public_url.trim_end_matches('/'),
            })
        })
        .map_err(ServiceError::internal)?;
    let (subject, body) = text.split_once("\n\n").ok_or_else(|| ServiceError::internal("a template has no text"))?;
    let sender = tenant.settings.get("mail_sender_name").and_then(Json::as_str).unwrap_or(&tenant.name);
    Ok(Letter {
        to: to.to_owned(),
        from_name: one_line(sender),
        subject: one_line(subject),
        body: body.to_owned(),
        id: job.to_string(),
    })
}

/// A name cannot add lines to a mail.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
