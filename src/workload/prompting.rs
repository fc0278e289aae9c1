//! How texts become prompts: as they are, or as messages in the model's chat template.

use super::{WorkloadError, WorkloadRequest};
use crate::model::{ChatMessage, ChatTemplate, Tokenizer};
use crate::spec::WorkloadSpec;

/// Texts of one token, in most vocabularies, that may begin a prompt.
pub(super) const STARTS: [&str; 8] = ["The", "A", "This", "Some", "a", "I", "E", "."];

/// A tokenizer, and the template that texts are put into before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prompting<'a> {
    pub tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
}

impl<'a> Prompting<'a> {
    /// As a workload wants it.
    ///
    /// # Errors
    /// It wants a template, and the tokenizer has none.
    pub fn of(spec: &WorkloadSpec, tokenizer: &'a Tokenizer) -> Result<Self, WorkloadError> {
        let template = match spec.chat_template {
            true => Some(tokenizer.template().ok_or(WorkloadError::NoTemplate)?),
            false => None,
        };
        Ok(Self { tokenizer, template })
    }

    /// Texts as they are.
    pub fn plain(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, template: None }
    }

    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The prompt of a text: what the engine gets.
    pub fn prompt(&self, text: String) -> Result<String, WorkloadError> {
        match self.template {
            Some(template) => Ok(template.prompt(&[ChatMessage::user(text)])?),
            None => Ok(text),
        }
    }

    /// The prompt of a conversation; without a template its messages a line.
    pub fn conversation(&self, messages: &[ChatMessage]) -> Result<String, WorkloadError> {
        let Some(template) = self.template else {
            let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            return Ok(said.join("\n"));
        };
        Ok(template.prompt(messages)?)
    }

    /// Tokens that the template adds to a text: those of the shortest prompt of a word, but one for the word. The tokens
    /// of an empty text would be others, since a word often joins the space before it.
    pub fn own_tokens(&self) -> Result<u32, WorkloadError> {
        if self.template.is_none() {
            return Ok(0);
        }
        let mut shortest = usize::MAX;
        for word in STARTS {
            shortest = shortest.min(self.tokenizer.encode(&self.prompt(word.to_owned())?)?.len());
        }
        Ok(shortest.saturating_sub(1) as u32)
    }

    /// Refuses requests whose prompts are shorter than the template with a token of text.
    pub fn admit(&self, requests: &[WorkloadRequest]) -> Result<(), WorkloadError> {
        let template = self.own_tokens()?;
        let short = (0u64..).zip(requests).find(|(_, request)| request.num_prefill_tokens <= template);
        match short.filter(|_| self.has_template()) {
            Some((index, request)) => Err(WorkloadError::ShorterThanTemplate {
                request: index + 1,
                tokens: request.num_prefill_tokens,
                template,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::generate::tests::{SEEDS, TOKENIZER, spec};
    use super::super::{generate, generate_with_notes, with_texts};
    use super::*;
    use crate::model::{Moment, train_synthetic};
    use crate::spec::{Arrivals, Lengths, Trace, TraceFormat};

    /// A tokenizer with a special token, which its post-processor would put before every text.
    fn tokenizer(template: &str) -> Tokenizer {
        let mut file: Value = serde_json::from_slice(&train_synthetic(1024).unwrap()).unwrap();
        let id = file["added_tokens"][0]["id"].clone();
        let bos = file["added_tokens"][0]["content"].as_str().unwrap().to_owned();
        let special = json!({ "SpecialToken": { "id": bos, "type_id": 0 } });
        let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        file["post_processor"] = json!({ "type": "TemplateProcessing", "single": [special, text], "pair": [text],
            "special_tokens": { (bos.as_str()): { "id": bos, "ids": [id], "tokens": [bos] } } });
        let loaded = Tokenizer::from_bytes(&serde_json::to_vec(&file).unwrap(), "t").unwrap();
        let special = BTreeMap::from([("bos_token".to_owned(), bos)]);
        loaded.with_template(ChatTemplate::new(template, "t.jinja", special, Moment::PINNED).unwrap())
    }

    const TURNS: &str = "{{ bos_token }}{% if messages[0].role == 'assistant' %}{{ raise_exception('a user begins') }}{% endif %}
{%- for message in messages %}[{{ message.role }}] {{ message.content | trim }}\n{% endfor %}
{%- if add_generation_prompt %}[assistant]{% endif %}";

    fn chat(lengths: Lengths) -> WorkloadSpec {
        WorkloadSpec { chat_template: true, ..spec(lengths, Arrivals::Static) }
    }

    #[test]
    fn a_prompt_in_a_template_is_as_long_as_it_is_said_to_be() {
        let tokenizer = tokenizer(TURNS);
        let bos = tokenizer.encode("<|endoftext|>").unwrap();
        assert_eq!(bos.len(), 1);
        let own = Prompting::of(&chat(Lengths::Fixed { prefill: 1, decode: None }), &tokenizer)
            .unwrap()
            .own_tokens();
        let own = own.unwrap();
        assert!(own > 5, "{own}");
        for prefill in (own + 1..own + 30).chain([300]) {
            let spec = chat(Lengths::Fixed { prefill, decode: Some(2) });
            let made = generate(&spec, &SEEDS, Some(&tokenizer), Path::new(".")).unwrap();
            assert_eq!(made.prompts.len(), 5);
            for prompt in &made.prompts {
                let ids = tokenizer.encode(prompt).unwrap();
                assert_eq!(ids.len(), prefill as usize, "{prompt:?}");
                assert!(
                    prompt.starts_with("<|endoftext|>[user] ") && prompt.ends_with("\n[assistant]"),
                    "{prompt:?}"
                );
                assert_eq!(ids.iter().filter(|id| **id == bos[0]).count(), 1, "{prompt:?}");
            }
            assert!(made.requests.iter().all(|request| request.num_prefill_tokens == prefill));
        }
        let short = chat(Lengths::Fixed { prefill: own, decode: Some(2) });
        let said = generate(&short, &SEEDS, Some(&tokenizer), Path::new(".")).unwrap_err().to_string();
        assert_eq!(
            said,
            format!("the prompt of request 1 has {own} tokens, and the chat template alone takes {own}")
        );
    }

    #[test]
    fn texts_of_a_file_are_messages() {
        let (tokenizer, dir) = (tokenizer(TURNS), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("p.jsonl"), "{\"text\": \" Why?\"}\n").unwrap();
        let base = chat(Lengths::Fixed { prefill: 1, decode: None });
        let spec = WorkloadSpec {
            prompts: Some("p.jsonl".to_owned()),
            lengths: None,
            requests: Some(1),
            decode_tokens: Some(7),
            ..base
        };
        let made = generate(&spec, &SEEDS, Some(&tokenizer), dir.path()).unwrap();
        assert_eq!(made.prompts, ["<|endoftext|>[user] Why?\n[assistant]"]);
        let tokens = tokenizer.encode(&made.prompts[0]).unwrap().len();
        assert_eq!(made.requests[0].num_prefill_tokens as usize, tokens);
        // As it is without a template.
        let plain = WorkloadSpec { chat_template: false, ..spec.clone() };
        assert_eq!(generate(&plain, &SEEDS, Some(&tokenizer), dir.path()).unwrap().prompts, [" Why?"]);
        let none = generate(&spec, &SEEDS, Some(&TOKENIZER), dir.path());
        assert!(matches!(none, Err(WorkloadError::NoTemplate)), "{none:?}");
    }

    #[test]
    fn conversations_are_messages_and_what_is_refused_is_left_out() {
        let (tokenizer, dir) = (tokenizer(TURNS), tempfile::tempdir().unwrap());
        let turn = |from: &str, value: &str| json!({ "from": from, "value": value });
        let file = json!([
            { "conversations": [turn("system", "Be brief."), turn("human", "Why?"), turn("gpt", "So."), turn("human", "Oh"), turn("gpt", "Yes.")] },
            { "conversations": [turn("gpt", "Hello"), turn("human", "Hi"), turn("gpt", "Well")] },
        ]);
        std::fs::write(dir.path().join("c.json"), file.to_string()).unwrap();
        let trace = Trace {
            path: "c.json".to_owned(),
            format: TraceFormat::Sharegpt,
            time_scale: 1.0,
            max_tokens: None,
            block: None,
        };
        let base = chat(Lengths::Fixed { prefill: 1, decode: None });
        let spec = WorkloadSpec { trace: Some(trace), lengths: None, ..base };
        let (made, notes) = generate_with_notes(&spec, &SEEDS, Some(&tokenizer), dir.path()).unwrap();
        let first = "<|endoftext|>[system] Be brief.\n[user] Why?\n[assistant]";
        let second = format!("{first} So.\n[user] Oh\n[assistant]");
        assert_eq!(made.prompts, [first, &second]);
        assert_eq!(notes, ["c.json: 1 replies are left out, which the chat template refuses"]);
    }

    #[test]
    fn requests_of_a_trace_get_texts_in_the_template() {
        let (tokenizer, dir) = (tokenizer(TURNS), tempfile::tempdir().unwrap());
        let write = |prefill: u32| {
            let rows = format!("num_prefill_tokens,num_decode_tokens\n{prefill},3\n");
            std::fs::write(dir.path().join("t.csv"), rows).unwrap();
        };
        let trace = Trace {
            path: "t.csv".to_owned(),
            format: TraceFormat::Vidur,
            time_scale: 1.0,
            max_tokens: None,
            block: None,
        };
        let base = chat(Lengths::Fixed { prefill: 1, decode: None });
        let spec = WorkloadSpec { trace: Some(trace), lengths: None, ..base };
        write(40);
        let made = generate(&spec, &SEEDS, Some(&tokenizer), dir.path()).unwrap();
        let served = with_texts(&made, &spec, &SEEDS, &tokenizer).unwrap();
        assert!(served.prompts[0].starts_with("<|endoftext|>[user] "), "{:?}", served.prompts);
        assert_eq!(tokenizer.encode(&served.prompts[0]).unwrap().len(), 40);
        write(2);
        let short = generate(&spec, &SEEDS, Some(&tokenizer), dir.path());
        assert!(matches!(short, Err(WorkloadError::ShorterThanTemplate { tokens: 2, .. })), "{short:?}");
    }

    #[test]
    fn what_follows_ids_of_prefixes_has_no_template() {
        let (tokenizer, dir) = (tokenizer(TURNS), tempfile::tempdir().unwrap());
        let rows = "arrival_time_ns,num_prefill_tokens,num_decode_tokens,prefix_hash_ids\n0,40,3,1 2\n9,50,3,1 2 3\n";
        std::fs::write(dir.path().join("t.csv"), rows).unwrap();
        let trace = Trace {
            path: "t.csv".to_owned(),
            format: TraceFormat::Xp,
            time_scale: 1.0,
            max_tokens: None,
            block: None,
        };
        let base = chat(Lengths::Fixed { prefill: 40, decode: Some(3) });
        let ids = WorkloadSpec {
            trace: Some(trace),
            lengths: None,
            requests: None,
            arrivals: Arrivals::Recorded,
            ..base
        };
        // Without texts as well: the lengths would be others.
        for tokenizer in [Some(&tokenizer), None] {
            let refused = generate(&ids, &SEEDS, tokenizer, dir.path());
            assert!(matches!(refused, Err(WorkloadError::PrefixesInTemplate)), "{refused:?}");
        }
        let plain = WorkloadSpec { chat_template: false, ..ids.clone() };
        let made = generate(&plain, &SEEDS, Some(&tokenizer), dir.path()).unwrap();
        let refused = with_texts(&made, &ids, &SEEDS, &tokenizer);
        assert!(matches!(refused, Err(WorkloadError::PrefixesInTemplate)), "{refused:?}");
        let served = with_texts(&made, &plain, &SEEDS, &tokenizer).unwrap();
        let tokens: Vec<Vec<u32>> =
            served.prompts.iter().map(|prompt| tokenizer.encode(prompt).unwrap()).collect();
        assert_eq!((tokens[0].len(), tokens[1].len(), &tokens[0][..32]), (40, 50, &tokens[1][..32]));
    }
}
