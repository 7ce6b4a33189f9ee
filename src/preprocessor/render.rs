//! A step as HTML.
//!
//! Two rules of Markdown shape it: a block of HTML ends at the first empty line, so nothing here writes one except
//! around a task, which is Markdown again; and what stands in `<pre>` has its line ends written as `&#10;`.

use lab::{Check, Command, Lab, Step, StepKind};
use pulldown_cmark::{Event, Parser, Tag, TagEnd, html};

/// The chapter's text with each step's block replaced by its HTML.
pub fn chapter(text: &str, lab: &Lab) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for (number, step) in lab.steps.iter().enumerate() {
        out.push_str(text.get(at..step.block.start).unwrap_or_default());
        out.push_str(&match step.kind {
            StepKind::Demo => demo(lab, step, number + 1),
            StepKind::Exercise => exercise(lab, step, number + 1),
        });
        at = step.block.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn demo(lab: &Lab, step: &Step, number: usize) -> String {
    let body = format!("{}{}", terminal(&step.commands), checks(step));
    format!("<section class=\"lab-step\" id=\"step-{}\">{}{body}</section>\n", step.id, head(lab, step, number))
}

fn exercise(lab: &Lab, step: &Step, number: usize) -> String {
    let hints: String = step
        .hints
        .iter()
        .enumerate()
        .map(|(at, hint)| {
            let of = if step.hints.len() > 1 { format!(" {} of {}", at + 1, step.hints.len()) } else { String::new() };
            format!("<details class=\"lab-hint\"><summary>Hint{of}</summary><p>{}</p></details>", inline(hint))
        })
        .collect();
    let solution = format!(
        "<details class=\"lab-solution\"><summary>One solution</summary>{}</details>",
        terminal(&step.solution)
    );
    let try_it = format!(
        "<p class=\"lab-try\">Try it: <code>swarmlab start {}</code>, then <code>swarmlab check {}</code></p>",
        lab.id, step.id
    );
    // The blank lines let the task be Markdown, with its links and code.
    format!(
        "<section class=\"lab-step lab-exercise\" id=\"step-{}\">{}\n\n{}\n\n<div class=\"lab-foot\">{}{try_it}{hints}{solution}</div></section>\n",
        step.id,
        head(lab, step, number),
        step.task,
        checks(step),
    )
}

fn head(lab: &Lab, step: &Step, number: usize) -> String {
    let kind = if step.kind == StepKind::Exercise { "Exercise" } else { "Step" };
    let points = match step.points {
        0 => String::new(),
        1 => " <span class=\"lab-points\">1 point</span>".to_owned(),
        n => format!(" <span class=\"lab-points\">{n} points</span>"),
    };
    format!(
        "<div class=\"lab-head\"><span class=\"lab-kind\">{kind} {number} of {}</span> <span class=\"lab-title\">{}</span>{points} <a class=\"lab-id\" href=\"#step-{id}\" title=\"{}, step {id}\">{id}</a></div>",
        lab.steps.len(),
        inline(&step.title),
        lab.id,
        id = step.id,
    )
}

fn terminal(commands: &[Command]) -> String {
    let mut out = String::from("<div class=\"lab-term\">");
    for command in commands {
        let continued = command.line.replace('\n', "\n> ");
        let role = if command.node.starts_with("worker") { " lab-worker" } else { "" };
        out.push_str(&format!(
            "<div class=\"lab-cmd\"><pre class=\"lab-line\"><span class=\"lab-prompt{role}\">{}$ </span>{}</pre>\
             <button class=\"lab-copy\" type=\"button\" data-copy=\"{}\" title=\"Copy the command\" aria-label=\"Copy the command for {}\">copy</button></div>",
            escape(&command.node),
            escape(&continued),
            escape(&command.line),
            escape(&command.node),
        ));
        if let Some(save) = &command.save {
            out.push_str(&format!(
                "<div class=\"lab-note\">kept as <code>${}</code> for what follows</div>",
                escape(save)
            ));
        }
        let output = command.recording.as_ref().map(|r| r.text.as_str()).unwrap_or_default();
        if !output.is_empty() {
            out.push_str(&format!(
                "<pre class=\"lab-out\" tabindex=\"0\" aria-label=\"Output\">{}</pre>",
                elided(output)
            ));
        }
    }
    out.push_str("</div>");
    out
}

/// Recorded output with what is elided shown as an ellipsis.
fn elided(output: &str) -> String {
    let lines: Vec<String> = output
        .lines()
        .map(|line| {
            if line.trim() == lab::recording::ANY_LINES {
                "<span class=\"lab-any\">⋮</span>".to_owned()
            } else {
                escape(line).replace("[..]", "<span class=\"lab-any\" title=\"this differs\">…</span>")
            }
        })
        .collect();
    lines.join("&#10;")
}

fn checks(step: &Step) -> String {
    if step.checks.is_empty() {
        return String::new();
    }
    let item = |check: &Check| {
        let patience = check
            .eventually
            .map(|e| format!(" <span class=\"lab-within\">within {}</span>", lab::show_duration(e.timeout)));
        format!("<li>{}{}</li>", inline(&check.words), patience.unwrap_or_default())
    };
    let items: String = step.checks.iter().map(item).collect();
    format!("<div class=\"lab-checks\"><span class=\"lab-checks-head\">What is checked</span><ul>{items}</ul></div>")
}

/// Inline Markdown (code, emphasis, links) without a paragraph around it.
fn inline(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let events =
        Parser::new(&one_line).filter(|e| !matches!(e, Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph)));
    let mut out = String::new();
    html::push_html(&mut out, events);
    out.replace('\n', " ")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // mdBook looks for these in text: `{{#include}}`, and Markdown for the others
            '{' => out.push_str("&#123;"),
            '*' => out.push_str("&#42;"),
            '_' => out.push_str("&#95;"),
            '`' => out.push_str("&#96;"),
            '\\' => out.push_str("&#92;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHAPTER: &str = include_str!("../../crates/lab/tests/fixtures/sample/chapter.md");
    const LAB: &str = include_str!("../../crates/lab/tests/fixtures/sample/lab.toml");

    #[test]
    fn a_step_shows_prompt_output_checks_and_copies_only_the_command() {
        let lab = lab::parse("c.md", CHAPTER, "labs/chapter-0/lab.toml", LAB).unwrap();
        let page = chapter(CHAPTER, &lab);
        assert!(!page.contains("```"), "{page}");
        assert!(page.contains("<section class=\"lab-step\" id=\"step-look\">"));
        assert!(page.contains("<span class=\"lab-prompt\">manager1$ </span>docker node ls</pre>"));
        assert!(page.contains("data-copy=\"docker node ls\""));
        assert!(page.contains("<li>Both nodes are ready. <span class=\"lab-within\">within 10s</span></li>"));
        assert!(
            page.contains(
                "<summary>Hint 1 of 3</summary><p>A service is made by <code>docker service create</code>.</p>"
            )
        );
        assert!(page.contains("<details class=\"lab-solution\">"));
        assert!(page.contains("\n\nCreate a service `web`"));
        assert!(page.contains("First we look at the nodes."));
    }

    #[test]
    fn text_of_a_step_cannot_become_markup() {
        let text = CHAPTER.replace("Leader           [..]", "<script>alert(1)</script>\n\n{{#include x}}");
        let lab = lab::parse("c.md", &text, "labs/chapter-0/lab.toml", LAB).unwrap();
        let page = chapter(&text, &lab);
        assert!(!page.contains("<script>") && !page.contains("{{#"), "{page}");
        let section = page.split("</section>").next().unwrap();
        assert!(!section[section.find("<section").unwrap()..].contains("\n\n"));
    }
}
