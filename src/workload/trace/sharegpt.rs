//! Conversations as ShareGPT has them: every reply is a request, and its prompt
//! is all of the conversation before it: a turn a line, or messages in a chat template.

use std::fmt;

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::rows::{At, Trace};
use crate::model::{ChatError, ChatMessage};
use crate::workload::WorkloadError;
use crate::workload::prefixes::TokenChain;
use crate::workload::prompting::Prompting;
use crate::workload::prompts::MAX_PROMPTS;

/// Who replies, by the names that the published files give it.
const REPLIES: [&str; 6] = ["gpt", "assistant", "chatgpt", "bing", "bard", "model"];

/// Who asks.
const USERS: [&str; 2] = ["human", "user"];

#[derive(Deserialize)]
#[serde(expecting = "a conversation")]
struct Conversation {
    #[serde(alias = "messages")]
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
#[serde(expecting = "a turn of a conversation")]
struct Turn {
    #[serde(alias = "role")]
    from: String,
    #[serde(alias = "content")]
    value: String,
}

impl Turn {
    fn is_reply(&self) -> bool {
        REPLIES.contains(&self.from.as_str())
    }

    /// The turn with the role that chat templates know.
    fn into_message(self) -> ChatMessage {
        let role = match self.from.as_str() {
            from if REPLIES.contains(&from) => "assistant",
            from if USERS.contains(&from) => "user",
            other => other,
        };
        ChatMessage { role: role.to_owned(), content: self.value }
    }
}

/// A reply and what it answers.
struct Reply {
    /// Number of its conversation in the file, from 1.
    conversation: u64,
    prompt: Vec<ChatMessage>,
    reply: String,
}

/// A JSON array of conversations, or one after another. The first `requests` replies are taken; all of the file is
/// read.
pub(super) fn read<'a>(
    mut trace: Trace<'a>,
    text: &str,
    requests: u32,
    prompting: Option<Prompting<'_>>,
) -> Result<Trace<'a>, WorkloadError> {
    let prompting = prompting.ok_or_else(|| WorkloadError::NoTokenizer { file: trace.file.to_owned() })?;
    let mut replies = Replies { requests: requests as usize, ..Replies::default() };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = if text.trim_start().starts_with('[') {
        (&mut replies).deserialize(&mut json).and_then(|()| json.end())
    } else {
        replies.each(&mut json)
    };
    read.map_err(|error| WorkloadError::json(trace.file, 1, &error))?;
    let tokenizer = prompting.tokenizer;
    let counted: Vec<Option<(String, Vec<u32>, usize)>> = replies
        .found
        .par_iter()
        .map(|reply| {
            let prompt = match prompting.conversation(&reply.prompt) {
                // Some templates want a user's turn first, or turns that alternate.
                Err(WorkloadError::Chat(ChatError::Refused { .. })) => return Ok(None),
                prompt => prompt?,
            };
            let tokens = tokenizer.encode(&prompt)?;
            Ok(Some((prompt, tokens, tokenizer.encode(&reply.reply)?.len())))
        })
        .collect::<Result<_, WorkloadError>>()?;
    let mut chain = TokenChain::default();
    let (mut empty, mut long, mut refused) = (0, 0, 0);
    for (reply, counted) in replies.found.into_iter().zip(counted) {
        let Some((prompt, tokens, decode)) = counted else {
            refused += 1;
            continue;
        };
        let total = tokens.len() + decode;
        if tokens.is_empty() || decode == 0 {
            empty += 1;
            continue;
        }
        // A text cannot be cut at a token.
        if trace.max_tokens().is_some_and(|max| total > max as usize) {
            long += 1;
            continue;
        }
        let at = At { line: reply.conversation, prefill: "conversations", decode: "conversations" };
        trace.push(at, tokens.len() as u64, decode as u64, None)?;
        let ids: Vec<u64> = chain.ids(&tokens, trace.block).collect();
        trace.push_ids(at.line, "conversations", tokens.len() as u64, ids.into_iter())?;
        trace.push_text(prompt);
    }
    for (count, why) in [
        (empty, "have no text"),
        (long, "are longer than max-tokens"),
        (refused, "the chat template refuses"),
    ] {
        if count > 0 {
            let file = trace.file.to_owned();
            trace.note(format!("{file}: {count} replies are left out, which {why}"));
        }
    }
    Ok(trace)
}

/// The replies of a file, up to as many as are wanted.
#[derive(Default)]
struct Replies {
    requests: usize,
    conversations: u64,
    found: Vec<Reply>,
    bytes: u64,
}

impl Replies {
    fn is_full(&self) -> bool {
        self.found.len() >= self.requests
    }

    /// Takes the replies of a conversation; refuses more text than is held.
    fn take<E: Error>(&mut self, conversation: Conversation) -> Result<(), E> {
        self.conversations += 1;
        let (mut prompt, mut length) = (Vec::new(), 0);
        for turn in conversation.conversations {
            let is_reply = turn.is_reply() && length > 0;
            if is_reply && !self.is_full() {
                self.bytes += (length + turn.value.len()) as u64;
                if self.bytes > MAX_PROMPTS {
                    let text = format!(
                        "the prompts up to here have more than {MAX_PROMPTS} bytes: say fewer `requests`"
                    );
                    return Err(E::custom(text));
                }
                self.found.push(Reply {
                    conversation: self.conversations,
                    prompt: prompt.clone(),
                    reply: turn.value.clone(),
                });
            }
            // What was said before the first text is nothing.
            if length > 0 || !turn.value.is_empty() {
                length += usize::from(length > 0) + turn.value.len();
                prompt.push(turn.into_message());
            }
        }
        Ok(())
    }

    /// Conversations one after another.
    fn each<'j>(
        &mut self,
        json: &mut serde_json::Deserializer<serde_json::de::StrRead<'j>>,
    ) -> serde_json::Result<()> {
        while json.end().is_err() {
            match self.is_full() {
                true => drop(IgnoredAny::deserialize(&mut *json)?),
                false => {
                    let conversation = Conversation::deserialize(&mut *json)?;
                    self.take(conversation)?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Replies {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Replies {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of conversations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            if self.is_full() {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            }
            match items.next_element::<Conversation>()? {
                Some(conversation) => self.take(conversation)?,
                None => return Ok(()),
            }
        }
    }
}
