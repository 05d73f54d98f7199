//! Text in and out: characters of several tokens, stop strings across tokens, conversations.

mod common;

use cascata_engine::{
    ChatTemplate, Config, Detokenizer, Engine, Event, FinishReason, Message, Params, Prompt,
    Tokenizer,
};
use common::decoder::Decoder;
use common::vocabulary::{all_bytes, of_the_decoder};
use common::{config, outputs, sampled};
use proptest::prelude::*;

fn engine() -> Engine {
    Engine::new(Decoder::new(1), config()).unwrap().with_tokenizer(of_the_decoder())
}

/// The text of tokens, one by one.
fn stream(tokenizer: &Tokenizer, prompt: &[u32], tokens: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer.clone(), true, prompt).unwrap();
    let mut out: Vec<String> = tokens.iter().map(|t| detokenizer.push(*t).unwrap()).collect();
    out.push(detokenizer.finish().unwrap());
    out
}

#[test]
fn a_character_comes_when_it_is_whole() {
    let tokenizer = all_bytes();
    let tokens = tokenizer.encode("a\u{e9}\u{20ac}\u{1F600}.", false).unwrap();
    let found = stream(&tokenizer, &[], &tokens);
    let want = ["a", "", "\u{e9}", "", "", "\u{20ac}", "", "", "", "\u{1F600}", ".", ""];
    assert_eq!(found, want);
}

#[test]
fn bytes_that_are_no_text_do_not_block_what_follows() {
    let tokenizer = all_bytes();
    let mut tokens = vec![0xFF; 40];
    tokens.extend(tokenizer.encode("then", false).unwrap());
    let found = stream(&tokenizer, &[], &tokens);
    let text = found.concat();
    assert_eq!(text, "\u{FFFD}".repeat(40) + "then");
    assert!(found[..10].concat().chars().count() >= 7, "no more than three wait");
    let half = stream(&tokenizer, &[], &[0xE2, 0x82]);
    assert!(half[..2].iter().all(String::is_empty) && half[2].contains('\u{FFFD}'));
}

#[test]
fn the_prompt_is_context_and_no_output() {
    let tokenizer = all_bytes();
    let prompt = tokenizer.encode("hello there, this is long", false).unwrap();
    let tokens = tokenizer.encode(" the", false).unwrap();
    assert_eq!(stream(&tokenizer, &prompt, &tokens).concat(), " the");
}

proptest! {
    #[test]
    fn pieces_make_the_whole_text(text in "[ a-z\u{e9}\u{20ac}\u{4f60}\u{1F600}]{0,40}", prompt in "[a-z ]{0,20}") {
        let tokenizer = all_bytes();
        let (tokens, prompt) = (tokenizer.encode(&text, false).unwrap(), tokenizer.encode(&prompt, false).unwrap());
        prop_assert_eq!(stream(&tokenizer, &prompt, &tokens).concat(), text);
    }

    #[test]
    fn any_tokens_are_accepted(tokens in prop::collection::vec(0..400u32, 0..60)) {
        let tokenizer = all_bytes();
        let found = stream(&tokenizer, &[], &tokens).concat();
        // Valid text inside of it comes through unchanged.
        let whole = tokenizer.decode(&tokens, true).unwrap();
        let letters = |s: &str| s.chars().filter(char::is_ascii).collect::<String>();
        prop_assert_eq!(letters(&found), letters(&whole));
    }
}

#[test]
fn an_engine_streams_the_text_of_its_tokens() {
    let engine = engine();
    for seed in 0..6 {
        let params = Params { max_tokens: 30, sampling: sampled(seed), ..Params::default() };
        let output = outputs(engine.submit("hello there", params).unwrap()).remove(0);
        assert_eq!(output.text, of_the_decoder().decode(&output.tokens, true).unwrap());
        assert!(!output.text.is_empty());
    }
}

#[test]
fn a_stop_string_ends_a_sample_wherever_tokens_end() {
    let engine = engine();
    let ask = |stops: &[String]| {
        let stop_strings = stops.to_vec();
        let params =
            Params { max_tokens: 30, sampling: sampled(3), stop_strings, ..Params::default() };
        outputs(engine.submit("well", params).unwrap()).remove(0)
    };
    let free = ask(&[]);
    let chars: Vec<char> = free.text.chars().collect();
    // Three characters from the middle: tokens are single bytes, so they cross borders.
    let stop: String = chars[chars.len() / 2..chars.len() / 2 + 3].iter().collect();
    let at = free.text.find(&stop).unwrap();
    let found = ask(&["never".into(), stop.clone()]);
    assert_eq!(
        (found.text.as_str(), found.reason),
        (&free.text[..at], FinishReason::StopString(stop))
    );
    assert!(found.tokens.len() < free.tokens.len() && free.tokens.starts_with(&found.tokens));
}

#[test]
fn a_stop_token_is_no_text() {
    let prompt = || Prompt::Text("well".into());
    let params = Params { max_tokens: 30, sampling: sampled(4), ..Params::default() };
    let free = outputs(engine().submit(prompt(), params.clone()).unwrap()).remove(0);
    let stop = free.tokens[12];
    let at = free.tokens.iter().position(|t| *t == stop).unwrap();
    let check = |engine: Engine, params: Params| {
        let found = outputs(engine.submit(prompt(), params).unwrap()).remove(0);
        assert_eq!((found.tokens.len(), found.reason), (at + 1, FinishReason::StopToken(stop)));
        assert_eq!(found.text, of_the_decoder().decode(&free.tokens[..at], true).unwrap());
    };
    check(engine(), Params { stop_tokens: vec![stop], ..params.clone() });
    let with_eos = || {
        let config = Config { eos_tokens: vec![stop], ..config() };
        Engine::new(Decoder::new(1), config).unwrap().with_tokenizer(of_the_decoder())
    };
    check(with_eos(), params.clone());
    let ignored = Params { ignore_eos: true, ..params };
    assert_eq!(outputs(with_eos().submit(prompt(), ignored).unwrap())[0].tokens, free.tokens);
}

#[test]
fn a_conversation_goes_through_the_template() {
    let template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}{% if add_generation_prompt %}bot {% endif %}";
    let chat = ChatTemplate::new(template, serde_json::Map::new()).unwrap();
    let engine = engine().with_chat_template(chat);
    let params = || Params { max_tokens: 8, ..Params::default() };
    let messages = vec![Message::new("user", "hello")];
    let chat = outputs(engine.submit(Prompt::Chat(messages), params()).unwrap());
    let text = outputs(engine.submit("user hello bot ", params()).unwrap());
    assert_eq!(chat[0].tokens, text[0].tokens);
    let error = self::engine().submit(Prompt::Chat(Vec::new()), params()).err().unwrap();
    assert!(error.to_string().contains("template"), "{error}");
}

#[test]
fn text_is_held_back_only_while_it_may_be_a_stop_string() {
    let params =
        Params { max_tokens: 12, stop_strings: vec!["zzzzzz".into()], ..Params::default() };
    let mut held = 0;
    for event in engine().submit("hello", params).unwrap() {
        if let Event::Token { text, token, .. } = event.unwrap() {
            let own = of_the_decoder().decode(&[token], true).unwrap();
            held += usize::from(text.is_empty() && own.is_ascii() && own != "z");
        }
    }
    assert_eq!(held, 0);
}
