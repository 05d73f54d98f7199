//! The engine with its thread: streams, queues, ends of all kinds.

mod common;

use cascata_engine::{
    Config, Engine, Event, FinishReason, GenerateError, Model, ModelError, ModelSpec, Params,
    Prompt, RequestError, SubmitError,
};
use cascata_kv::{KvStore, StepBatch};
use common::decoder::Decoder;
use common::{BLOCK_BYTES, Random, alone, config, outputs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

fn engine(config: Config) -> Engine {
    Engine::new(Decoder::new(1), config).unwrap()
}

fn params(max_tokens: u32) -> Params {
    Params { max_tokens, ..Params::default() }
}

/// What a model is to do at its next step.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Error,
    Panic,
    Nan,
    Wait,
}

/// The decoder, which a test can stop or break.
struct Troubled {
    decoder: Decoder,
    trouble: Arc<Mutex<Trouble>>,
    gate: mpsc::Receiver<()>,
}

impl Model for Troubled {
    fn spec(&self) -> ModelSpec {
        self.decoder.spec()
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::Error => return Err("the device is gone".into()),
            Trouble::Panic => std::panic::panic_any(String::from("index out of bounds")),
            Trouble::Wait => drop(self.gate.recv()),
            Trouble::None | Trouble::Nan => {}
        }
        self.decoder.step(batch, kv, logits)?;
        if trouble == Trouble::Nan {
            logits[0] = f32::NAN;
        }
        Ok(())
    }
}

fn troubled(trouble: Trouble, config: Config) -> (Engine, Arc<Mutex<Trouble>>, mpsc::Sender<()>) {
    let (sender, gate) = mpsc::channel();
    let shared = Arc::new(Mutex::new(trouble));
    let model = Troubled { decoder: Decoder::new(1), trouble: shared.clone(), gate };
    (Engine::new(model, config).unwrap(), shared, sender)
}

#[test]
fn a_stream_gives_tokens_and_an_end() {
    let engine = engine(config());
    let prompt = Random(1).tokens(9);
    let want = alone(&[(prompt.clone(), params(6))]).remove(0).outputs.remove(0).0;
    let found = outputs(engine.submit(prompt, params(6)).unwrap()).remove(0);
    assert_eq!((found.tokens, found.reason), (want, FinishReason::Length));
    assert_eq!((found.usage.prompt_tokens, found.usage.new_tokens), (9, 6));
    let stats = engine.finish();
    assert_eq!((stats.new_tokens, stats.blocks_free), (6, stats.blocks));
}

#[test]
fn many_threads_may_submit() {
    let engine = engine(Config { max_sequences: 8, queue_capacity: 4, ..config() });
    let asks: Vec<_> =
        (0..40u64).map(|i| (Random(i).tokens(4 + i as usize % 9), params(5))).collect();
    let want = alone(&asks);
    std::thread::scope(|scope| {
        for (asks, want) in asks.chunks(10).zip(want.chunks(10)) {
            let engine = &engine;
            scope.spawn(move || {
                for ((prompt, params), want) in asks.iter().zip(want) {
                    let stream = engine.submit_waiting(prompt.clone(), params.clone()).unwrap();
                    assert_eq!(outputs(stream)[0].tokens, want.outputs[0].0);
                }
            });
        }
    });
}

#[test]
fn cancelled_requests_end_and_give_their_blocks_back() {
    let (engine, trouble, gate) = troubled(Trouble::Wait, config());
    let mut cancelled = engine.submit(Random(1).tokens(20), params(200)).unwrap();
    let dropped =
        engine.submit(Random(2).tokens(20), Params { samples: 3, ..params(200) }).unwrap();
    gate.send(()).unwrap();
    assert!(matches!(cancelled.next(), Some(Ok(Event::Token { .. }))));
    cancelled.canceller().cancel();
    drop(dropped);
    *trouble.lock().unwrap() = Trouble::None;
    drop(gate);
    let last = cancelled.by_ref().last().unwrap().unwrap();
    assert!(matches!(last, Event::Finished { reason: FinishReason::Cancelled, .. }), "{last:?}");
    assert!(cancelled.next().is_none());
    let stats = engine.finish();
    assert_eq!(stats.blocks_free, stats.blocks);
    assert!(stats.new_tokens < 100, "{stats:?}");
}

#[test]
fn a_full_queue_pushes_back() {
    let (engine, _, gate) =
        troubled(Trouble::Wait, Config { max_sequences: 1, queue_capacity: 2, ..config() });
    let submit = || engine.submit(vec![1, 2], params(2));
    let mut streams = Vec::new();
    let full = loop {
        match submit() {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
        assert!(streams.len() < 10);
    };
    assert_eq!(full, SubmitError::QueueFull(2));
    let (done, waited) = (AtomicUsize::new(0), &engine);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stream = waited.submit_waiting(vec![3], params(2)).unwrap();
            done.store(outputs(stream)[0].tokens.len(), Ordering::SeqCst);
        });
        drop(gate);
    });
    assert_eq!(done.load(Ordering::SeqCst), 2);
    streams.into_iter().for_each(|s| assert_eq!(outputs(s)[0].tokens.len(), 2));
}

#[test]
fn dropping_the_engine_ends_every_stream() {
    let (engine, trouble, gate) = troubled(Trouble::Wait, Config { max_sequences: 2, ..config() });
    let streams: Vec<_> = (0..5).map(|i| engine.submit(vec![i], params(400)).unwrap()).collect();
    *trouble.lock().unwrap() = Trouble::None;
    drop(gate);
    drop(engine);
    for stream in streams {
        let last = stream.last().unwrap();
        assert!(
            matches!(last, Err(GenerateError::ShutDown) | Ok(Event::Finished { .. })),
            "{last:?}"
        );
    }
}

#[test]
fn finishing_lets_requests_end() {
    let engine = engine(config());
    let streams: Vec<_> = (0..5).map(|i| engine.submit(vec![i], params(20)).unwrap()).collect();
    assert_eq!(engine.finish().new_tokens, 100);
    streams.into_iter().for_each(|s| assert_eq!(outputs(s)[0].tokens.len(), 20));
}

#[test]
fn a_callback_that_panics_ends_its_own_request() {
    let engine = engine(config());
    let (sender, events) = mpsc::channel();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let bad = move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::panic::panic_any("the host's own mistake");
    };
    engine.submit_with(vec![1, 2, 3], params(300), Box::new(bad)).unwrap();
    let good = move |event| sender.send(event).unwrap();
    engine.submit_with(vec![4, 5, 6], params(10), Box::new(good)).unwrap();
    let stats = engine.finish();
    assert_eq!(events.iter().filter(|e| matches!(e, Ok(Event::Token { .. }))).count(), 10);
    assert_eq!(count.load(Ordering::SeqCst), 2, "one token, and the end");
    assert_eq!(stats.new_tokens, 11);
}

#[test]
fn a_model_in_trouble_ends_its_batch_and_not_the_engine() {
    type Expected = fn(&GenerateError) -> bool;
    let cases: [(Trouble, Expected); 3] = [
        (Trouble::Error, |e| matches!(e, GenerateError::Model(text) if text.contains("gone"))),
        (
            Trouble::Panic,
            |e| matches!(e, GenerateError::ModelPanic(text) if text.contains("bounds")),
        ),
        (Trouble::Nan, |e| matches!(e, GenerateError::Logits { position: 3 })),
    ];
    for (kind, expected) in cases {
        let (engine, trouble, _gate) = troubled(kind, config());
        let stream = engine.submit(vec![1, 2, 3], Params { samples: 2, ..params(5) }).unwrap();
        let events: Vec<_> = stream.collect();
        assert!(events.last().unwrap().as_ref().is_err_and(expected), "{events:?}");
        *trouble.lock().unwrap() = Trouble::None;
        let found = outputs(engine.submit(vec![1, 2, 3], params(5)).unwrap());
        assert_eq!(found[0].tokens, alone(&[(vec![1, 2, 3], params(5))])[0].outputs[0].0);
        let stats = engine.finish();
        assert_eq!((stats.failures, stats.blocks_free), (1, stats.blocks));
    }
}

#[test]
fn requests_that_cannot_end_are_refused_by_name() {
    let engine = engine(Config { kv_budget_bytes: 8 * BLOCK_BYTES, ..config() });
    let refused = |prompt: Prompt, params: Params| match engine.submit(prompt, params) {
        Err(SubmitError::Request(error)) => error,
        other => panic!("{:?}", other.map(|_| ())),
    };
    let tokens = |n: usize| Prompt::Tokens(vec![1; n]);
    assert_eq!(refused(tokens(0), params(1)), RequestError::EmptyPrompt);
    let beyond = RequestError::Token { token: 96, vocab: 96 };
    assert_eq!(refused(Prompt::Tokens(vec![0, 96]), params(1)), beyond);
    let long = RequestError::Context { prompt: 500, max_tokens: 13, limit: 512 };
    assert_eq!(refused(tokens(500), params(13)), long);
    let large = RequestError::Cache { prompt: 30, max_tokens: 3, needed: 9, capacity: 8 };
    assert_eq!(refused(tokens(30), params(3)), large);
    assert!(matches!(refused(tokens(1), params(0)), RequestError::Parameter { .. }));
    assert!(matches!(refused("text".into(), params(1)), RequestError::NoTokenizer { .. }));
    let stop = Params { stop_strings: vec!["x".into()], ..params(1) };
    assert!(matches!(refused(tokens(1), stop), RequestError::NoTokenizer { .. }));
    assert_eq!(outputs(engine.submit(tokens(30), params(2)).unwrap())[0].tokens.len(), 2);
}

#[test]
fn bad_engines_are_refused() {
    let tiny = Config { kv_budget_bytes: BLOCK_BYTES - 1, ..config() };
    assert!(Engine::new(Decoder::new(1), tiny).is_err());
    let narrow = Config { step_tokens: 1, ..config() };
    let error = Engine::new(Decoder::new(1), narrow).err().unwrap().to_string();
    assert!(error.contains("step_tokens") && error.contains("64"), "{error}");
}
