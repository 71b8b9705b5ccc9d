//! Somebody who takes webhooks: a server that answers as it is told and keeps what came.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// What came.
#[derive(Clone, Debug)]
pub struct Delivery {
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Delivery {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

pub struct Receiver {
    pub url: String,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// Answers with these statuses, one after the other; the last one for ever.
    pub async fn start(statuses: &'static [u16]) -> Self {
        let head = move |n: usize| format!("HTTP/1.1 {} X\r\n", statuses[n.min(statuses.len() - 1)]);
        Self::answering(head, Vec::new()).await
    }

    /// Answers 200 with this body.
    pub async fn saying(body: Vec<u8>) -> Self {
        Self::answering(|_| "HTTP/1.1 200 OK\r\n".to_owned(), body).await
    }

    /// Sends everybody elsewhere.
    pub async fn redirecting_to(url: &str) -> Self {
        let url = url.to_owned();
        Self::answering(move |_| format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\n"), Vec::new()).await
    }

    async fn answering(head: impl Fn(usize) -> String + Send + Sync + 'static, body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let deliveries: Arc<Mutex<Vec<Delivery>>> = Arc::default();
        let answer = move |n: usize| {
            let head = format!("{}Content-Length: {}\r\nConnection: close\r\n\r\n", head(n), body.len());
            [head.as_bytes(), &body].concat()
        };
        let (kept, answer) = (Arc::clone(&deliveries), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                tokio::spawn(async move { take(stream, &kept, &*answer).await });
            }
        });
        Self { url, deliveries }
    }

    pub fn count(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    /// What came until now.
    pub fn taken(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// What came, once so many did.
    pub async fn wait_for(&self, count: usize, patience: Duration) -> Vec<Delivery> {
        let began = Instant::now();
        while self.count() < count {
            assert!(began.elapsed() < patience, "{} of {count} deliveries came", self.count());
            sleep(Duration::from_millis(50)).await;
        }
        self.deliveries.lock().unwrap().clone()
    }
}

async fn take(stream: TcpStream, kept: &Mutex<Vec<Delivery>>, answer: &(dyn Fn(usize) -> Vec<u8> + Send + Sync)) {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        match line.trim().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let answer = {
        let mut kept = kept.lock().unwrap();
        kept.push(Delivery { headers, body });
        answer(kept.len() - 1)
    };
    drop(stream.write_all(&answer).await);
}
