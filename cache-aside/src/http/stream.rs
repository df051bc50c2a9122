//! A content that is still coming, for all who wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::body::BodyError;

/// How long it waits at a time for those who are far behind, ...
pub(super) const WAIT: Duration = Duration::from_millis(10);
/// ... and how often for each of them.
const WAITS: u32 = 100;

/// How far it is read ahead of the fastest reader once it is not to be stored.
const AHEAD: u64 = 256 << 10;

/// Chunks as they come. As long as they may be stored all of them are kept, and readers come
/// and read at their own pace. Past `limit` they are not to be stored: then it waits for its
/// fastest reader, and for who is more than `limit` behind that one; who has been waited for
/// a second in all is cut off. So it never holds more than twice `limit` and a little, and
/// nobody waits for long for a reader who is slow.
#[derive(Debug)]
pub(super) struct Stream {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// How many chunks, and bytes, came before those that are here.
    gone: Position,
    /// How many came in all.
    came: Position,
    unkept: bool,
    end: Option<Result<(), BodyError>>,
    readers: Vec<Option<Progress>>,
    source: Option<Waker>,
    /// Who is to know when nobody reads any more.
    deserted: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    chunks: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Progress {
    at: Position,
    waited_for: u32,
    cut_off: bool,
    waker: Option<Waker>,
}

/// What is asked of the source of the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    More,
    /// To wait for those who are far behind.
    Wait,
    /// Nobody reads it, and it is not to be stored.
    None,
}

impl Stream {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// A reader from its beginning; none if that is gone, or it has broken off: who comes later
    /// asks anew.
    pub(super) fn reader(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        if state.unkept || matches!(state.end, Some(Err(_))) {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        state.readers[place] = Some(Progress::default());
        drop(state);
        Some(Reader { stream: Arc::clone(self), place })
    }

    /// When there is room for more.
    pub(super) fn poll_demand(&self, cx: &mut Context<'_>) -> Poll<Demand> {
        let mut state = self.lock();
        if !state.unkept {
            return Poll::Ready(Demand::More);
        }
        let Some((slowest, fastest)) = state.ends() else { return Poll::Ready(Demand::None) };
        if fastest.bytes - slowest.bytes > self.limit {
            Poll::Ready(Demand::Wait)
        } else if state.came.bytes - fastest.bytes < AHEAD {
            Poll::Ready(Demand::More)
        } else {
            state.source = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// Notes that those who are far behind were waited for, and cuts off who was too often.
    pub(super) fn has_waited(&self) {
        let mut state = self.lock();
        let Some((_, fastest)) = state.ends() else { return };
        for reader in state.readers.iter_mut().flatten() {
            if fastest.bytes.saturating_sub(reader.at.bytes) > self.limit {
                reader.waited_for += 1;
                reader.cut_off |= reader.waited_for > WAITS;
            }
        }
        state.forget();
        state.wake_readers();
    }

    pub(super) fn push(&self, chunk: Bytes) {
        let mut state = self.lock();
        state.came.chunks += 1;
        state.came.bytes += chunk.len() as u64;
        state.chunks.push_back(chunk);
        if state.came.bytes > self.limit {
            state.unkept = true;
        }
        state.forget();
        state.wake_readers();
    }

    /// Whether it is too large to be stored.
    pub(super) fn is_unkept(&self) -> bool {
        self.lock().unkept
    }

    /// All that came, if it is to be stored.
    pub(super) fn chunks(&self) -> Option<Vec<Bytes>> {
        let state = self.lock();
        (!state.unkept).then(|| state.chunks.iter().cloned().collect())
    }

    pub(super) fn finish(&self, end: Result<(), BodyError>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        state.wake_readers();
    }

    /// Ready when nobody reads it.
    pub(super) fn poll_deserted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.readers().next().is_none() {
            return Poll::Ready(());
        }
        state.deserted = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn has_readers(&self) -> bool {
        self.lock().readers().next().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn readers(&self) -> impl Iterator<Item = &Progress> {
        self.readers.iter().flatten().filter(|reader| !reader.cut_off)
    }

    /// Where the slowest and the fastest reader are.
    fn ends(&self) -> Option<(Position, Position)> {
        let slowest = self.readers().map(|reader| reader.at).min()?;
        let fastest = self.readers().map(|reader| reader.at).max()?;
        Some((slowest, fastest))
    }

    /// Drops the chunks that all have read.
    fn forget(&mut self) {
        if !self.unkept {
            return;
        }
        let slowest = self.ends().map_or(self.came, |(slowest, _)| slowest);
        while self.gone < slowest
            && let Some(first) = self.chunks.pop_front()
        {
            self.gone.chunks += 1;
            self.gone.bytes += first.len() as u64;
        }
    }

    fn wake_readers(&mut self) {
        for reader in self.readers.iter_mut().flatten() {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake_source(&mut self) {
        if let Some(waker) = self.source.take() {
            waker.wake();
        }
    }
}

/// One who reads a stream from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Arc<Stream>,
    place: usize,
}

impl Reader {
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.stream.lock();
        let state = &mut *state;
        let progress =
            state.readers[self.place].as_mut().expect("it is taken out when dropped");
        if progress.cut_off {
            return Poll::Ready(Some(Err(BodyError::too_slow())));
        }
        if progress.at.chunks < state.came.chunks {
            let chunk = state.chunks[(progress.at.chunks - state.gone.chunks) as usize].clone();
            progress.at.chunks += 1;
            progress.at.bytes += chunk.len() as u64;
            state.forget();
            state.wake_source();
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
            None => {
                progress.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether nothing is to come any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.stream.lock();
        let progress = state.readers[self.place].as_ref();
        matches!(state.end, Some(Ok(())))
            && progress.is_some_and(|progress| progress.at.chunks == state.came.chunks)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.readers[self.place] = None;
        state.forget();
        state.wake_source();
        if state.readers().next().is_none()
            && let Some(waker) = state.deserted.take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(reader: &mut Reader) -> Poll<Option<Result<Bytes, BodyError>>> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn demand(stream: &Stream) -> Poll<Demand> {
        stream.poll_demand(&mut Context::from_waker(Waker::noop()))
    }

    fn next(reader: &mut Reader) -> Bytes {
        match read(reader) {
            Poll::Ready(Some(Ok(chunk))) => chunk,
            other => panic!("{other:?}"),
        }
    }

    fn is_cut_off(reader: &mut Reader) -> bool {
        matches!(read(reader), Poll::Ready(Some(Err(_))))
    }

    #[test]
    fn all_get_all_of_it_also_those_who_come_late() {
        let stream = Stream::new(100);
        let mut early = stream.reader().unwrap();
        assert!(read(&mut early).is_pending());
        stream.push(Bytes::from_static(b"a"));
        assert_eq!(next(&mut early), "a");
        let mut late = stream.reader().unwrap();
        stream.push(Bytes::from_static(b"b"));
        assert_eq!(next(&mut early), "b");
        assert_eq!((next(&mut late), next(&mut late)), ("a".into(), "b".into()));
        assert!(read(&mut late).is_pending() && !late.is_over());
        assert_eq!(stream.chunks().unwrap(), ["a", "b"]);
        stream.finish(Ok(()));
        assert!(matches!(read(&mut late), Poll::Ready(None)) && late.is_over());
    }

    #[test]
    fn what_is_stored_does_not_wait_for_who_reads_it() {
        let stream = Stream::new(10 << 20);
        let _slow = stream.reader().unwrap();
        for _ in 0..100 {
            assert_eq!(demand(&stream), Poll::Ready(Demand::More));
            stream.push(vec![0; 64 << 10].into());
        }
        assert_eq!(stream.chunks().unwrap().len(), 100);
    }

    #[test]
    fn past_the_limit_it_keeps_pace_with_the_fastest_and_the_slow_are_cut_off() {
        let chunk = || Bytes::from(vec![0; 64 << 10]);
        let stream = Stream::new(1 << 20);
        let (mut fast, mut slow) = (stream.reader().unwrap(), stream.reader().unwrap());
        for _ in 0..17 {
            stream.push(chunk());
        }
        assert!(stream.chunks().is_none() && stream.reader().is_none());
        assert!(demand(&stream).is_pending());
        next(&mut slow);
        (0..17).for_each(|_| drop(next(&mut fast)));
        next(&mut slow);

        let stream = Stream::new(1 << 20);
        let (mut fast, mut slow) = (stream.reader().unwrap(), stream.reader().unwrap());
        let (mut most, mut waits) = (0, 0);
        for _ in 0..16 {
            stream.push(chunk());
            next(&mut fast);
        }
        for _ in 0..1_000 {
            while demand(&stream) == Poll::Ready(Demand::Wait) {
                stream.has_waited();
                waits += 1;
            }
            assert_eq!(demand(&stream), Poll::Ready(Demand::More));
            stream.push(chunk());
            next(&mut fast);
            most = most.max(stream.lock().chunks.len());
        }
        assert!(is_cut_off(&mut slow), "it is more than the limit behind");
        assert_eq!(waits, WAITS + 1, "as long as that it was waited for");
        assert!(most <= 18, "{most} chunks were held");
        for _ in 0..4 {
            stream.push(chunk());
        }
        assert!(demand(&stream).is_pending(), "it does not run away from who reads");
        next(&mut fast);
        assert_eq!(demand(&stream), Poll::Ready(Demand::More));
        drop(fast);
        assert_eq!(demand(&stream), Poll::Ready(Demand::None));
    }

    #[test]
    fn it_is_deserted_when_the_last_reader_goes() {
        let deserted =
            |stream: &Stream| stream.poll_deserted(&mut Context::from_waker(Waker::noop()));
        let stream = Stream::new(100);
        let (first, second) = (stream.reader().unwrap(), stream.reader().unwrap());
        drop(first);
        assert!(deserted(&stream).is_pending());
        drop(second);
        assert!(deserted(&stream).is_ready());
        let _third = stream.reader().unwrap();
        assert!(deserted(&stream).is_pending());
    }

    #[test]
    fn an_end_before_its_time_is_an_error_to_all() {
        let stream = Stream::new(100);
        let mut reader = stream.reader().unwrap();
        stream.push(Bytes::from_static(b"a"));
        stream.finish(Err(BodyError::too_slow()));
        assert_eq!(next(&mut reader), "a");
        assert!(is_cut_off(&mut reader) && !reader.is_over());
        assert!(stream.reader().is_none(), "nobody comes for what has broken off");
    }
}
