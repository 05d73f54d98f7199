//! Chat templates: Jinja as `tokenizer_config.json` stores it.
//!
//! Python's string and dict methods work as templates expect them to; `raise_exception`
//! refuses messages. There is no clock: templates that would put today's date into the
//! prompt get none unless the caller gives it as a variable.

use crate::error::RequestError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};
use serde::Serialize;
use std::collections::BTreeMap;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Variables of every conversation, such as `bos_token`.
    globals: serde_json::Map<String, serde_json::Value>,
}

fn refuse(error: minijinja::Error) -> RequestError {
    RequestError::Template(format!("{error:#}"))
}

fn raise(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

impl ChatTemplate {
    /// Compiles a template; `globals` are variables such as `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// The template's syntax.
    pub fn new(
        source: &str,
        globals: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, RequestError> {
        let mut environment = Environment::new();
        // As transformers sets them.
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build().map_err(refuse)?;
        environment.set_syntax(syntax);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.add_template_owned("chat", source.to_string()).map_err(refuse)?;
        Ok(Self { environment, globals })
    }

    /// The prompt of a conversation; `add_generation_prompt` opens the assistant's turn.
    ///
    /// # Errors
    /// The template refuses the messages or fails.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, RequestError> {
        let global = |(k, v): (&String, &serde_json::Value)| (k.clone(), Value::from(Serde(v)));
        let mut variables: BTreeMap<String, Value> = self.globals.iter().map(global).collect();
        // Not through JSON, which would sort the keys.
        variables.insert("messages".into(), Serde(messages).into());
        variables.insert("add_generation_prompt".into(), add_generation_prompt.into());
        let template = self.environment.get_template("chat").map_err(refuse)?;
        template.render(variables).map_err(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ChatML with the system prompt that SmolLM2 puts in.
    const CHATML: &str = "{% for message in messages %}\
        {% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nBe helpful<|im_end|>\n' }}{% endif %}\
        {{'<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n'}}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn render(source: &str, messages: &[Message]) -> Result<String, RequestError> {
        let globals = serde_json::json!({ "bos_token": "<s>" });
        ChatTemplate::new(source, globals.as_object().unwrap().clone())?.render(messages, true)
    }

    #[test]
    fn a_conversation_becomes_a_prompt() {
        let hello = [Message::new("user", " Hello ")];
        let want = "<|im_start|>system\nBe helpful<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(render(CHATML, &hello).unwrap(), want);
    }

    #[test]
    fn what_templates_in_the_wild_use_works() {
        let messages = [Message::new("user", "a|b"), Message::new("assistant", "{c}")];
        let cases = [
            (
                "{{ bos_token }}{% set x = namespace(n=0) %}{% for m in messages %}{% set x.n = x.n + 1 %}{% endfor %}{{ x.n }}",
                "<s>2",
            ),
            ("{{ messages[0].content.split('|')[-1].strip() }}", "b"),
            (
                "{% for m in messages %}{% if m.role == 'assistant' %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
                "a|b",
            ),
            ("{{ messages[1] | tojson }}", r#"{"role": "assistant", "content": "{c}"}"#),
            ("{% if strftime_now is defined %}now{% else %}then{% endif %}", "then"),
            (
                "{% if messages[0].content.startswith('a') and tools is not defined %}yes{% endif %}",
                "yes",
            ),
            ("{% for k, v in messages[0].items() %}{{ k }},{% endfor %}", "role,content,"),
            ("{{ messages[::-1][0]['role'] }}", "assistant"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source, &messages).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn templates_can_refuse() {
        let error = render("{{ raise_exception('no system role') }}", &[]).unwrap_err();
        assert!(error.to_string().contains("no system role"), "{error}");
        assert!(matches!(render("{% if %}", &[]), Err(RequestError::Template(_))));
    }
}
