//! Hints between hosts through Redis, and counters they share. Losing a hint costs only
//! the time until the next look; the database is the truth.

use std::time::Duration;

use futures_util::StreamExt;
use purlin_domain::id::TenantId;
use redis::{
    AsyncCommands, Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
    streams::{StreamId, StreamRangeReply},
};
use tokio::sync::mpsc;

use crate::Result;

const WAKE: &str = "purlin:wake";
const FORGET: &str = "purlin:forget";
const CANCEL: &str = "purlin:cancel";
/// A limit that is not counted by then is counted here alone.
const COUNT_TIMEOUT: Duration = Duration::from_millis(100);
const RECONNECT: Duration = Duration::from_secs(2);

/// A hint from another host, or from this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Jobs may be due.
    Wake,
    /// A running job is to be cancelled.
    Cancel,
    /// Somebody's authority in this tenant changed.
    Forget(TenantId),
}

/// The generic cell rate algorithm (ITU-T I.371): the key holds the time at which the
/// next request would arrive if all came at the allowed rate. Times are microseconds.
const COUNT: &str = r"
local now, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = due + interval
if after - burst * interval > now then
    return {0, string.format('%.0f', due)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, string.format('%.0f', after)}
";

/// Appends to a stream what follows the place it has reached, or nothing: so several hosts
/// may pass on the same events, and each is there once.
const RELAY: &str = r"
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
for i = 4, #ARGV, 4 do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*',
        'place', ARGV[i], 'tenant', ARGV[i + 1], 'type', ARGV[i + 2], 'event', ARGV[i + 3])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
";

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

    /// Tell every host that a running job is to be cancelled.
    pub async fn cancel(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: i64 = connection.publish(CANCEL, "").await?;
        Ok(())
    }

    /// Whether the bus answers.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(())
    }

    /// Tell every host that somebody's authority in this tenant changed.
    pub async fn forget(&self, tenant: TenantId) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: i64 = connection.publish(FORGET, tenant.to_string()).await?;
        Ok(())
    }

    /// Count a request against a rate shared by all hosts: whether it is within, and when
    /// the next would be due at the allowed rate. An error means that it was not counted.
    pub async fn count(&self, key: &str, now_us: i64, interval_us: i64, burst: i64) -> Result<(bool, i64)> {
        let mut connection = self.connection.clone();
        let script = redis::Script::new(COUNT);
        let mut call = script.key(key);
        call.arg(now_us).arg(interval_us).arg(burst);
        let answer = tokio::time::timeout(COUNT_TIMEOUT, call.invoke_async(&mut connection)).await;
        let (within, due): (i64, i64) =
            answer.map_err(|_| redis::RedisError::from((redis::ErrorKind::Io, "the bus did not answer in time")))??;
        Ok((within == 1, due))
    }

    /// How far events were passed on to this stream, as the bus remembers it.
    pub async fn relayed(&self, stream: &str) -> Result<Option<String>> {
        let mut connection = self.connection.clone();
        Ok(connection.get(format!("{stream}:place")).await?)
    }

    /// Pass events on to a stream that keeps about `length_max` of them, if it still is where
    /// whoever read them thought; whether it was. An entry has the fields `place`, `tenant`,
    /// `type` and `event`.
    pub async fn relay(&self, stream: &str, expected: &str, entries: &[[String; 4]], length_max: u32) -> Result<bool> {
        let Some([reached, ..]) = entries.last() else { return Ok(true) };
        let mut connection = self.connection.clone();
        let script = redis::Script::new(RELAY);
        let mut call = script.key(stream);
        call.key(format!("{stream}:place")).arg(expected).arg(reached).arg(length_max);
        for field in entries.iter().flatten() {
            call.arg(field);
        }
        let appended: i64 = call.invoke_async(&mut connection).await?;
        Ok(appended == 1)
    }

    /// Entries of a stream after this one, so many at most: of each its id, its tenant and its event.
    pub async fn entries(&self, stream: &str, after: &str, most: usize) -> Result<Vec<[String; 3]>> {
        let mut connection = self.connection.clone();
        let from = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        let found: StreamRangeReply = connection.xrange_count(stream, from, "+", most).await?;
        let field = |entry: &StreamId, name: &str| entry.get::<String>(name).unwrap_or_default();
        Ok(found.ids.iter().map(|entry| [entry.id.clone(), field(entry, "tenant"), field(entry, "event")]).collect())
    }

    /// Delete entries of a stream.
    pub async fn delete_entries(&self, stream: &str, ids: &[String]) -> Result<()> {
        let mut connection = self.connection.clone();
        let _: i64 = connection.xdel(stream, ids).await?;
        Ok(())
    }

    /// Pass every hint on until the receiver is gone, reconnecting as needed.
    pub async fn listen(&self, hints: mpsc::Sender<Hint>) {
        while !hints.is_closed() {
            if let Err(error) = self.forward(&hints).await {
                tracing::warn!(%error, "lost the bus; changes of other hosts are found by looking meanwhile");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn forward(&self, hints: &mpsc::Sender<Hint>) -> Result<()> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        pubsub.subscribe(&[WAKE, FORGET, CANCEL]).await?;
        let mut messages = pubsub.on_message();
        while let Some(message) = messages.next().await {
            let hint = match message.get_channel_name() {
                FORGET => message.get_payload::<String>().ok().and_then(|id| id.parse().ok()).map(Hint::Forget),
                CANCEL => Some(Hint::Cancel),
                _ => Some(Hint::Wake),
            };
            if let Some(hint) = hint
                && hints.send(hint).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }
}
