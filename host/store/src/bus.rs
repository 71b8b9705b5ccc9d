//! Hints between hosts through Redis: "there may be work". Losing one costs only the
//! time until the next poll; the database is the truth.

use std::time::Duration;

use futures_util::StreamExt;
use redis::{
    AsyncCommands, Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::sync::mpsc;

use crate::Result;

const WAKE: &str = "purlin:wake";
const RECONNECT: Duration = Duration::from_secs(2);

/// A connection to the bus.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    connection: ConnectionManager,
}

impl Bus {
    /// The bus at this URL. Connects when it is first used, and again whenever it must.
    pub fn open(url: &str) -> Result<Self> {
        let client = Client::open(url)?;
        let connection = client.get_connection_manager_lazy(ConnectionManagerConfig::new())?;
        Ok(Self { client, connection })
    }

    /// Tell every host that jobs may be due.
    pub async fn wake(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: i64 = connection.publish(WAKE, "").await?;
        Ok(())
    }

    /// Whether the bus answers.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(())
    }

    /// Pass every hint on until the receiver is gone, reconnecting as needed.
    pub async fn listen(&self, hints: mpsc::Sender<()>) {
        while !hints.is_closed() {
            if let Err(error) = self.forward(&hints).await {
                tracing::warn!(%error, "lost the bus; jobs are found by polling meanwhile");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn forward(&self, hints: &mpsc::Sender<()>) -> Result<()> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        pubsub.subscribe(WAKE).await?;
        let mut messages = pubsub.on_message();
        while messages.next().await.is_some() {
            // A full channel already holds a hint; a closed one ends the loop above.
            if hints.try_send(()).is_err_and(|e| matches!(e, mpsc::error::TrySendError::Closed(()))) {
                break;
            }
        }
        Ok(())
    }
}
