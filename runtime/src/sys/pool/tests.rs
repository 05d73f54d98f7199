use super::*;
use std::sync::atomic::AtomicI64;

/// Runs a launch and checks that each tile ran exactly once.
fn covers(pool: &Pool, tiles: i64, min_tiles: i64) {
    let counts: Vec<AtomicI64> = (0..tiles).map(|_| AtomicI64::new(0)).collect();
    pool.run(tiles, min_tiles, &|thread, begin, end| {
        assert!(thread < pool.threads());
        for i in begin..end {
            counts[i as usize].fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{tiles} tiles");
}

#[test]
fn ranges_are_contiguous_and_complete() {
    for tiles in 0..40 {
        for parts in 1..9 {
            let all: Vec<i64> = (0..parts).flat_map(|p| range(tiles, parts, p)).collect();
            assert_eq!(all, (0..tiles).collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_tile_runs_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads).unwrap();
        for tiles in [0, 1, 2, 3, 7, 8, 9, 1000] {
            covers(&pool, tiles, 1);
            covers(&pool, tiles, 5);
            covers(&pool, tiles, 0);
        }
    }
}

#[test]
fn a_hundred_thousand_tiny_launches_by_four_callers() {
    let pool = Pool::new(2).unwrap();
    let total = AtomicI64::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..25_000 {
                    let add = |_: usize, begin: i64, end: i64| {
                        total.fetch_add(end - begin, Ordering::Relaxed);
                    };
                    pool.run(4, 1, &add).unwrap();
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 400_000);
}

#[test]
fn workers_that_sleep_are_woken_and_pools_end() {
    for _ in 0..20 {
        let pool = Pool::new(3).unwrap();
        covers(&pool, 100, 1);
        std::thread::sleep(Duration::from_millis(1));
        covers(&pool, 100, 1);
    }
}

#[test]
fn uneven_work_waits_for_the_slowest() {
    let pool = Pool::new(2).unwrap();
    let done = AtomicI64::new(0);
    pool.run(2, 1, &|_, begin, end| {
        for i in begin..end {
            std::thread::sleep(Duration::from_millis(if i == 1 { 20 } else { 0 }));
            done.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 2);
}

#[test]
fn a_panic_is_an_error_and_the_pool_goes_on() {
    let pool = Pool::new(2).unwrap();
    for bad in 0..4 {
        let result =
            pool.run(4, 1, &|_, begin, end| assert!(!(begin..end).contains(&bad), "on purpose"));
        assert!(result.is_err());
        covers(&pool, 10, 1);
    }
}

#[test]
fn a_launch_inside_a_launch_runs_inline() {
    let pool = Pool::new(2).unwrap();
    let total = AtomicI64::new(0);
    pool.run(2, 1, &|_, begin, end| {
        for _ in begin..end {
            pool.run(10, 1, &|_, b, e| {
                total.fetch_add(e - b, Ordering::Relaxed);
            })
            .unwrap();
        }
    })
    .unwrap();
    assert_eq!(total.load(Ordering::Relaxed), 20);
}
