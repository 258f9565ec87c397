//! A log that was given up because its disk was full, and its end.

use super::*;

#[test]
fn the_end_of_a_log_that_was_given_up_is_in_the_file_and_what_is_missing_is_told() {
    runtime().block_on(async {
        let fixture = Fixture::new(LogOptions::default());
        let seq = fixture.log.append(message("on disk")).await.unwrap();
        assert!(fixture.log.synced(seq, PATIENCE).await);
        fixture.log.shared.give_up("the disk is full");
        for _ in 0..1_000 {
            fixture.log.append(message("x".repeat(1_000))).await.unwrap();
        }
        let middle = fixture.log.append(message("no end")).await.unwrap();
        assert!(!fixture.log.synced(middle, PATIENCE).await);
        let terminal = fixture.log.append_terminal(message("end")).unwrap();
        assert!(fixture.log.synced(terminal, PATIENCE).await);
        fixture.log.publish_terminal();
        // Readers miss nothing, and see what is in the file as it is there.
        let read = read_all(&fixture.source, 0, 10_000).await;
        assert_eq!(ids(&read), (1..=terminal).collect::<Vec<_>>());
        let on_disk = file_bytes(fixture.dir.path());
        let (first, last) = on_disk.split_at(read.iter().zip(&on_disk).take_while(|(a, b)| a == b).count());
        assert!(read.starts_with(first) && read.ends_with(last));
        let kept = ids(&on_disk);
        assert_eq!(kept[..2], [1, 2]);
        let first_kept = kept[2];
        assert_eq!(kept[2..], (first_kept..=terminal).collect::<Vec<_>>());
        assert!((32_000..=64 * 1024).contains(&last.len()), "{}", last.len());
        let error = match &*fixture.log.health().borrow() {
            LogHealth::GivenUp { error } => error.clone(),
            other => panic!("{other:?}"),
        };
        let (n_missing, last_missing) = (first_kept - 3, first_kept - 1);
        assert_eq!(
            error,
            format!("the disk is full; events that the log does not have: {n_missing}, with the numbers 3 to {last_missing}")
        );
        fixture.log.close();
        fixture.threads.join();
        // Who looks later is told the same.
        let dir = std::fs::File::open(fixture.dir.path()).unwrap();
        let report = verify::verify(&dir, None).unwrap();
        let told = format!("events that the log does not have: {n_missing}, with the numbers 3 to {last_missing}");
        assert!(report.findings.contains(&told), "{:?}", report.findings);
        let again = verify::verify(&dir, None).unwrap();
        assert_eq!(again, report);
    });
}

#[test]
fn a_log_that_was_given_up_too_early_is_whole() {
    runtime().block_on(async {
        for durability in [Durability::Written, Durability::Durable] {
            let fixture = Fixture::new(LogOptions {
                durability,
                ..LogOptions::default()
            });
            fixture.log.shared.give_up("the disk was full");
            for n in 0..10 {
                fixture.log.append(message(format!("{n}"))).await.unwrap();
            }
            let terminal = fixture.log.append_terminal(message("end")).unwrap();
            assert!(fixture.log.synced(terminal, PATIENCE).await);
            assert_eq!(*fixture.log.health().borrow(), LogHealth::Healthy);
            fixture.log.publish_terminal();
            let read = read_all(&fixture.source, 0, 10_000).await;
            assert_eq!(read, file_bytes(fixture.dir.path()));
            assert_eq!(ids(&read), (1..=terminal).collect::<Vec<_>>());
            fixture.log.close();
            fixture.threads.join();
        }
    });
}
