//! Accepts connections for both ports: a bounded number of them, each on its own terms for silence.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after an accept that failed: out of file descriptors, it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that has only so many connections open at one time.
pub(crate) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Option<Duration>,
}

/// An open connection. Its place is free for another one when it is dropped.
pub(crate) struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connections {
    pub(crate) fn new(listener: TcpListener, max: usize) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(max)), silence_max: None }
    }

    /// Cuts a connection off from which nothing was read for so long.
    pub(crate) fn cut_after(self, silence_max: Duration) -> Self {
        Self { silence_max: Some(silence_max), ..self }
    }

    /// The next connection, once there is a place for it: the listener's own backlog holds whoever is beyond the limit.
    pub(crate) async fn next(&self) -> Connection {
        // Never closed, so there always is a permit.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, _) = until_accepted(|| self.listener.accept()).await;
        // Answers are small and single; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(self.silence_max);
        Connection { stream: Box::pin(stream), _place: place }
    }

    /// All connections to come.
    pub(crate) fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, async |connections| {
            let connection = connections.next().await;
            Some((Ok(connection), connections))
        })
    }
}

async fn until_accepted<T, A>(mut accept: impl FnMut() -> A) -> T
where
    A: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => tracing::warn!(%error, "cannot accept a connection"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.get_ref().connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use tokio::{
        io::AsyncReadExt as _,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::testing::PATIENCE;

    async fn listen(places: usize) -> (Connections, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Connections::new(listener, places), address)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_cut_off() {
        let (connections, address) = listen(1).await;
        let connections = connections.cut_after(Duration::from_secs(75));
        let (_client, started) = (TcpStream::connect(address).await.unwrap(), Instant::now());
        let mut connection = connections.next().await;
        let read = timeout(PATIENCE * 10, connection.read_u8()).await.expect("still open");
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_secs(75));
    }

    #[tokio::test]
    async fn there_are_only_so_many_places() {
        let (connections, address) = listen(2).await;
        let _clients =
            stream::iter(0..3).then(|_| TcpStream::connect(address)).collect::<Vec<_>>().await;
        let (first, _second) = (connections.next().await, connections.next().await);
        assert!(connections.next().now_or_never().is_none(), "a third one has a place");
        drop(first);
        connections.next().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_tried_again_after_a_pause() {
        let started = Instant::now();
        let full = || Err(io::Error::other("too many open files"));
        let mut tries = [full(), full(), full(), Ok("one")].into_iter();
        let accepted = until_accepted(|| std::future::ready(tries.next().unwrap()));
        assert_eq!(accepted.await, "one");
        assert_eq!(started.elapsed(), 3 * ACCEPT_PAUSE);
    }
}
