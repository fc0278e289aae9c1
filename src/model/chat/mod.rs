//! Chat templates: a conversation as the text that a model was trained on, rendered as transformers'
//! `apply_chat_template` renders it.

mod bounds;
mod environment;
mod error;
mod files;
mod json;
mod moment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use error::ChatError;
pub use files::{CHAT_TEMPLATE, TOKENIZER_CONFIG, has_template};
pub use moment::Moment;

/// The name under which the one template is known to its environment.
const TEMPLATE: &str = "chat_template";

/// A message of a conversation that has nothing but text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Such as `user`, `assistant` or `system`.
    pub role: String,
    pub content: String,
}

impl ChatMessage {
    /// What a user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: content.into() }
    }
}

/// Everything that a template is rendered with.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// A list of mappings, or what else the template takes.
    pub messages: Value,
    /// Tools that a model may call, in JSON Schema; null where there are none.
    pub tools: Value,
    /// Whether the text ends where the model's reply begins.
    pub add_generation_prompt: bool,
    /// Further variables of the template by name.
    pub variables: Map<String, Value>,
}

impl Conversation {
    /// Messages that are to be answered.
    pub fn to_answer(messages: &[ChatMessage]) -> Self {
        Self { messages: json!(messages), add_generation_prompt: true, ..Self::default() }
    }
}

/// A model's chat template, compiled, with the special tokens that it may write.
///
/// A template comes with a model from elsewhere and is trusted no more than any other input: a render has a budget
/// that bounds its time and its memory, and values nest to a bounded depth.
pub struct ChatTemplate {
    name: String,
    environment: Arc<minijinja::Environment<'static>>,
    /// Special tokens by what templates call them: `bos_token`, `eos_token`, ….
    special: BTreeMap<String, String>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("name", &self.name).field("special", &self.special).finish()
    }
}

impl ChatTemplate {
    /// Compiles a template; `name` is shown in errors. Its `strftime_now` formats `now`.
    ///
    /// # Errors
    /// The template is too large, or has a mistake.
    pub fn new(
        template: &str,
        name: &str,
        special: BTreeMap<String, String>,
        now: Moment,
    ) -> Result<Self, ChatError> {
        let environment = environment::compile(template, name, now)?;
        Ok(Self { name: name.to_owned(), environment, special })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// The template refuses it, fails on it, or takes more than its budget.
    pub fn render(&self, conversation: &Conversation) -> Result<String, ChatError> {
        let mut context: BTreeMap<&str, minijinja::Value> = BTreeMap::new();
        for (name, token) in &self.special {
            context.insert(name, token.as_str().into());
        }
        for (name, value) in &conversation.variables {
            context.insert(name, Serde(value).into());
        }
        context.insert("messages", Serde(&conversation.messages).into());
        context.insert("tools", Serde(&conversation.tools).into());
        context.insert("documents", ().into());
        context.insert("add_generation_prompt", conversation.add_generation_prompt.into());
        let context = minijinja::Value::from_pairs(context);
        environment::render(&self.environment, context, &self.name)
    }

    /// The text that a model gets to answer these messages.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn prompt(&self, messages: &[ChatMessage]) -> Result<String, ChatError> {
        self.render(&Conversation::to_answer(messages))
    }
}
