//! One look for all who ask at the same time.
//!
//! Owns who waits for whom. Invariant: whoever asks gets an answer that was begun after the question, so nobody is told less
//! than what was known already: who comes while a look is under way shares the next one.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::run::RunId;

/// Looks that are under way, by run; no more than there are requests.
#[derive(Debug)]
pub struct Flights<T> {
    /// A std lock: it is held for one look at the map, never across an await.
    flights: Mutex<HashMap<RunId, Arc<Flight<T>>>>,
}

#[derive(Debug)]
struct Flight<T> {
    /// How many looks were begun.
    n_begun: AtomicU64,
    /// The last answer, with the number of its look. Who holds it looks.
    last: AsyncMutex<Option<(u64, T)>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            flights: Mutex::default(),
        }
    }
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self {
            n_begun: AtomicU64::new(0),
            last: AsyncMutex::new(None),
        }
    }
}

impl<T: Clone> Flights<T> {
    /// The answer of a look at this run that begins from now on, made by `look` or by somebody who waits as well. Cancel
    /// safe: who goes away in the midst of a look leaves it to the next.
    pub async fn share<F: Future<Output = T>>(&self, id: &RunId, look: impl FnOnce() -> F) -> T {
        let place = self.place(id);
        let wanted = place.flight.n_begun.load(Ordering::SeqCst) + 1;
        let mut last = place.flight.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(number, _)| *number >= wanted) {
            return answer.clone();
        }
        let number = place.flight.n_begun.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = look().await;
        *last = Some((number, answer.clone()));
        answer
    }

    fn place(&self, id: &RunId) -> Place<'_, T> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = flights.entry(id.clone()).or_default();
        Place {
            flight: Arc::clone(flight),
            flights: self,
            id: id.clone(),
        }
    }
}

/// One who asks; the last one takes the flight out of the map.
struct Place<'a, T> {
    flight: Arc<Flight<T>>,
    flights: &'a Flights<T>,
    id: RunId,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let flights = &self.flights.flights;
        let mut flights = flights.lock().unwrap_or_else(PoisonError::into_inner);
        // This one's and the map's; nobody can take another while the map is locked.
        if Arc::strong_count(&self.flight) == 2 {
            flights.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    fn id() -> RunId {
        "fox".parse().unwrap()
    }

    #[tokio::test]
    async fn who_asks_during_a_look_shares_the_next_one() {
        let flights = Flights::default();
        let (n_looks, gate) = (AtomicU64::new(0), Semaphore::new(0));
        let look = || async {
            let number = n_looks.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            number
        };
        let id = id();
        let first = flights.share(&id, look);
        let others = async {
            // The first one looks by now: futures are polled in their order.
            let asked = join_all((0..50).map(|_| flights.share(&id, look)));
            let opened = async { gate.add_permits(2) };
            tokio::join!(asked, opened).0
        };
        let (first, others) = tokio::join!(first, others);
        assert_eq!((first, others), (0, vec![1; 50]));
        assert!(flights.flights.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_look_to_the_next() {
        let flights = Flights::default();
        let id = id();
        let mut gone = Box::pin(flights.share(&id, std::future::pending::<u8>));
        assert!(futures_util::poll!(&mut gone).is_pending());
        let next = flights.share(&id, || async { 7 });
        let leave = async { drop(gone) };
        assert_eq!(tokio::join!(next, leave).0, 7);
        assert!(flights.flights.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn looks_at_two_runs_do_not_wait_for_each_other() {
        let flights = Flights::default();
        let (fox, owl) = (id(), "owl".parse().unwrap());
        let mut first = Box::pin(flights.share(&fox, std::future::pending::<u8>));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert_eq!(flights.share(&owl, || async { 1 }).await, 1);
    }
}
