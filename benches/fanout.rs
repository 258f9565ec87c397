//! Rows "fan-out": one event to many readers over loopback TCP, every stream checked for gaps and doubles.

use std::path::Path;
use std::time::Instant;

use crate::frames::Faults;
use crate::readers::Readers;
use crate::report::{Report, Row, Target, median, millis, per_second, quantile};
use crate::scale::Scale;
use crate::server::{Order, Server};

/// Targets of DESIGN section 10 by number of readers: must, goal, and the floor of one frame a send on that machine.
const TARGETS: [(usize, f64, &str, f64); 3] = [
    (100, 4e6, "goal 5 M/s", 167e3),
    (1_000, 1.5e6, "goal 2.5 M/s", 114e3),
    (5_000, 2.5e6, "goal 3 M/s", 98e3),
];

/// Readers and rate of the paced row.
const PACED_READERS: usize = 100;
const PACED_PER_SECOND: u64 = 500;

/// Milliseconds of the broadcast server's p50 on the machine on which the targets were set.
const QUIET_BROADCAST_MS: f64 = 0.75;

/// One server and its crowd.
struct Side {
    server: Server,
    readers: Readers,
    last: u64,
    n_readers: usize,
}

pub(crate) fn run(report: &mut Report, scale: &Scale, dir: &Path) {
    for (n_readers, n_deliveries) in scale.crowds {
        burst(report, scale, dir, *n_readers, *n_deliveries);
    }
    paced(report, scale, dir);
}

fn burst(report: &mut Report, scale: &Scale, dir: &Path, n_readers: usize, n_deliveries: u64) {
    let n_events = n_deliveries / n_readers as u64;
    let mut rates: [Vec<f64>; 4] = Default::default();
    let mut peak = 0;
    for round in 0..scale.n_rounds {
        let dir = dir.join(format!("fanout-{n_readers}-{round}"));
        let dir_text = dir.to_str().expect("an UTF-8 path");
        let roles = [
            (&["stockade", dir_text][..], 1),
            (&["floor", "1"][..], scale.slow_share),
            (&["floor", "64"][..], 1),
            (&["broadcast"][..], scale.slow_share),
        ];
        for (rates, (role, share)) in rates.iter_mut().zip(roles) {
            // One crowd at a time: four of 5,000 would need more descriptors than a process may have.
            let mut side = Side::open(role, n_readers);
            // Not counted: heaps and windows of the connections are small at first.
            side.burst(n_events / share / 10);
            rates.push(side.burst(n_events / share));
            peak = peak.max(match role[0] {
                "stockade" => side.server.memory().peak,
                _ => 0,
            });
        }
        std::fs::remove_dir_all(dir).expect("remove what we made");
    }
    let ours: Vec<_> = rates[0]
        .iter()
        .map(|rate| format!("{:.2}", rate / 1e6))
        .collect();
    let rates = rates.each_ref().map(|rates| median(rates));
    let (_, must, goal, quiet_floor) = TARGETS
        .into_iter()
        .find(|(target_readers, ..)| *target_readers == n_readers)
        .expect("a crowd with a target");
    report.push(
        Row::new(
            "fan-out",
            format!("burst to {n_readers} readers, delivered events"),
            per_second(rates[0]),
        )
        .target(Target::AtLeast(must))
        .beside("floor, one frame a send", rates[1])
        .quiet_floor(quiet_floor)
        .beside("floor, 64 frames a send", rates[2])
        .beside("broadcast-channel axum server", rates[3])
        .note(format!(
            "{goal}; rounds {} M/s; server peak {:.1} MiB",
            ours.join(", "),
            crate::report::to_mebibytes(peak)
        )),
    );
}

impl Side {
    fn open(role: &[&str], n_readers: usize) -> Self {
        let mut server = Server::start(role);
        // The log has its own first event, so the crowd begins behind what is there.
        let mut readers = Readers::open(server.port, "/events", n_readers, 0);
        let last = server.order(Order::Take(n_readers));
        readers.wait_for_heads();
        readers.read_to(last);
        Self {
            server,
            readers,
            last,
            n_readers,
        }
    }

    /// One burst; gives delivered events a second.
    fn burst(&mut self, n_events: u64) -> f64 {
        let began = Instant::now();
        self.server.begin(Order::Append(n_events));
        let ended = self.readers.read_to(self.last + n_events);
        let elapsed = ended.duration_since(began);
        self.last = self.server.end();
        assert_eq!(
            self.readers.faults(),
            Faults::default(),
            "a stream has gaps or doubles"
        );
        let n_deliveries = n_events as f64 * self.n_readers as f64;
        n_deliveries / elapsed.as_secs_f64()
    }
}

fn paced(report: &mut Report, scale: &Scale, dir: &Path) {
    let dir = dir.join("paced");
    let dir_text = dir.to_str().expect("an UTF-8 path");
    let n_events = PACED_PER_SECOND * scale.paced.as_secs() / scale.n_rounds as u64;
    let mut sides = [&["stockade", dir_text][..], &["broadcast"][..]].map(|role| {
        let side = Side::open(role, PACED_READERS);
        (side, Vec::new())
    });
    for _ in 0..scale.n_rounds {
        for (side, latencies) in &mut sides {
            side.server.begin(Order::Pace {
                n_events,
                per_second: PACED_PER_SECOND,
            });
            let ages = side.readers.read_to_with_latencies(side.last + n_events);
            latencies.extend(ages.into_iter().map(|ns| ns as f64 / 1e6));
            side.last = side.server.end();
            assert_eq!(side.readers.faults(), Faults::default());
        }
    }
    let [(_, ours), (_, theirs)] = &sides;
    report.push(
        Row::new(
            "fan-out",
            format!("p50 latency, {PACED_READERS} readers x {PACED_PER_SECOND} events/s"),
            millis(median(ours)),
        )
        .target(Target::AtMost(1.0))
        .beside("broadcast-channel axum server", median(theirs))
        .quiet_floor(QUIET_BROADCAST_MS)
        .note(format!(
            "p99 {:.2} ms; peer p99 {:.2} ms",
            quantile(ours, 99),
            quantile(theirs, 99)
        )),
    );
    drop(sides);
    std::fs::remove_dir_all(dir).expect("remove what we made");
}
