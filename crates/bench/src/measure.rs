//! Counting, timing and medians.

use {
    core::time::Duration,
    std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Instant,
    },
    tokio::task::JoinHandle,
};

/// What runs before a rate is taken: slow start, path discovery, first allocations.
const WARM_UP: Duration = Duration::from_millis(300);

/// A count that one task adds to and another looks at.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// How much is added, over `window` and after a warm-up.
    pub(crate) async fn rate(&self, window: Duration) -> Rate {
        tokio::time::sleep(WARM_UP).await;
        let (before, started, used) = (self.get(), Instant::now(), processor_ticks());
        tokio::time::sleep(window).await;
        let added = (self.get() - before) as f64;
        let ticks = processor_ticks().zip(used).map(|(now, then)| now - then);
        Rate {
            a_second: added / started.elapsed().as_secs_f64(),
            a_tick: ticks
                .filter(|ticks| *ticks > 0)
                .map(|ticks| added / ticks as f64),
        }
    }
}

impl Counter {
    /// The share of one processor that this process uses, over `window`.
    pub(crate) async fn busy(window: Duration) -> f64 {
        /// The system's ticks a second; 100 wherever Linux runs today.
        const TICKS: f64 = 100.0;
        let (started, used) = (Instant::now(), processor_ticks());
        tokio::time::sleep(window).await;
        let ticks = processor_ticks().zip(used).map(|(now, then)| now - then);
        ticks.unwrap_or_default() as f64 / TICKS / started.elapsed().as_secs_f64()
    }
}

/// How much happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// A second of time.
    pub(crate) a_second: f64,
    /// A tick of processor time of this process, where the system tells it. Two of these may be
    /// compared even when other programs kept the processors busy.
    pub(crate) a_tick: Option<f64>,
}

impl Rate {
    /// The same, counted in units of this size.
    pub(crate) fn per(self, unit: f64) -> Self {
        Self {
            a_second: self.a_second / unit,
            a_tick: self.a_tick.map(|rate| rate / unit),
        }
    }
}

/// Processor time that this process has used, in the system's ticks.
fn processor_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything; fields are counted behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The median of durations in microseconds; orders them.
pub(crate) fn median(samples: &mut [Duration]) -> f64 {
    assert!(!samples.is_empty(), "a median needs samples");
    let middle = samples.len() / 2;
    let (_, median, _) = samples.select_nth_unstable(middle);
    median.as_secs_f64() * 1e6
}

/// The median of figures; orders them.
pub(crate) fn median_of(figures: &mut [f64]) -> f64 {
    assert!(!figures.is_empty(), "a median needs figures");
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Waits for a task that was aborted or is about to end.
pub(crate) async fn ended(task: JoinHandle<()>) {
    match task.await {
        Ok(()) => {}
        Err(error) if error.is_cancelled() => {}
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_was_measured() {
        let mut samples = [9, 1, 5].map(Duration::from_micros);
        assert!((median(&mut samples) - 5.0).abs() < 1e-9);
        assert!((median_of(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn processor_time_grows_where_it_is_told() {
        let Some(before) = processor_ticks() else {
            return;
        };
        while processor_ticks() == Some(before) {
            std::hint::spin_loop();
        }
    }
}
