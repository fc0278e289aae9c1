//! The environment that transformers renders a template in.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::bounds::{self, BUDGET, Ended, bounded};
use super::error::{ChatError, Raised};
use super::moment::Moment;
use super::{TEMPLATE, json};

/// Largest template, in bytes; published ones have up to some 30,000.
pub(super) const MAX_TEMPLATE: usize = 1 << 20;

/// Deepest calls of macros and recursive loops.
const MAX_RECURSION: usize = 200;

pub(super) fn compile(
    template: &str,
    name: &str,
    now: Moment,
) -> Result<Arc<Environment<'static>>, ChatError> {
    if template.len() > MAX_TEMPLATE {
        let (bytes, limit) = (template.len(), MAX_TEMPLATE);
        return Err(ChatError::TooLarge { name: name.to_owned(), bytes, limit });
    }
    let source = without_generation_marks(template).into_owned();
    let work = move || environment(source, now).map(Arc::new);
    bounded(work).map_err(|ended| ended_early(&ended, name))?.map_err(|error| ChatError::of(&error, name))
}

fn environment(source: String, now: Moment) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(BUDGET));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(bounds::method);
    environment.set_formatter(bounds::format);
    environment.add_filter("string", bounds::string);
    environment.add_filter("join", bounds::join);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
        now.format(format).map_err(|why| Error::new(ErrorKind::InvalidOperation, why))
    });
    environment.add_template_owned(TEMPLATE, source)?;
    Ok(environment)
}

pub(super) fn render(
    environment: &Arc<Environment<'static>>,
    context: Value,
    name: &str,
) -> Result<String, ChatError> {
    let (environment, shown) = (Arc::clone(environment), name.to_owned());
    let work = move || {
        let rendered = environment.get_template(TEMPLATE).and_then(|template| template.render(context));
        rendered.map_err(|error| ChatError::of(&error, &shown))
    };
    bounded(work).map_err(|ended| ended_early(&ended, name))?
}

fn ended_early(ended: &Ended, name: &str) -> ChatError {
    let name = name.to_owned();
    match ended {
        Ended::Late => ChatError::Budget { name, line: 1 },
        Ended::Failed => {
            let message = "the template engine gave up".to_owned();
            ChatError::Template { name, line: 1, message }
        }
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "the template raised an exception");
    Err(error.with_source(Raised(message.to_owned())))
}

/// Marks what an assistant says, for training: `{% generation %}…{% endgeneration %}` renders what is between. A
/// `with` block does the same, and variables that are set in it are local, too.
fn without_generation_marks(template: &str) -> Cow<'_, str> {
    if !template.contains("endgeneration") {
        return Cow::Borrowed(template);
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        let inside = tag.trim_start_matches("{%").trim_matches(|c: char| c == '-' || c == '+').trim();
        match inside {
            "generation" => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::without_generation_marks;

    #[test]
    fn marks_of_what_is_generated_become_blocks() {
        let marked = "a{%- generation -%}\n{{ b }}{% endgeneration %}{% if generation %}{% endif %}{%+ c";
        let found = without_generation_marks(marked);
        assert_eq!(found, "a{%- with -%}\n{{ b }}{% endwith %}{% if generation %}{% endif %}{%+ c");
        assert_eq!(without_generation_marks("{% generation %}"), "{% generation %}");
    }
}
