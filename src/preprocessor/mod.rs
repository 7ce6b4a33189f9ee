//! The mdBook preprocessor: shows the steps of a chapter as the same [`lab::parse`] reads them that the runner uses.
//!
//! Called by mdBook as `swarmlab preprocessor` (or `mdbook-swarmlab`), and in this process by `swarmlab book build`.

mod render;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lab::Lab;
use mdbook_preprocessor::book::{Book, Chapter};
use mdbook_preprocessor::errors::{Error, Result};
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

/// Renders steps.
pub struct Swarmlab;

impl Preprocessor for Swarmlab {
    fn name(&self) -> &str {
        "swarmlab"
    }

    fn run(&self, context: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let mut wrong: Vec<String> = Vec::new();
        book.for_each_chapter_mut(|chapter| {
            if lab::has_steps(&chapter.content) {
                match lab_of(&context.root, &context.config.book.src, chapter) {
                    Ok(lab) => chapter.content = render::chapter(&chapter.content, &lab),
                    Err(said) => wrong.push(said),
                }
            }
        });
        if wrong.is_empty() { Ok(book) } else { Err(Error::msg(wrong.join("\n"))) }
    }

    fn supports_renderer(&self, renderer: &str) -> Result<bool> {
        // Other renderers read the blocks as they are: commands and their output.
        Ok(renderer == "html")
    }
}

/// The lab of a chapter: `labs/<name of the chapter's file>/lab.toml` beside the book.
fn lab_of(root: &Path, src: &Path, chapter: &Chapter) -> std::result::Result<Lab, String> {
    let file = chapter.path.as_deref().unwrap_or(Path::new("chapter.md"));
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("labs/{stem}/lab.toml");
    let text = std::fs::read_to_string(root.join(&name))
        .map_err(|error| format!("{}: it has steps, but {name} cannot be read: {error}", src.join(file).display()))?;
    let chapter_name = src.join(file).display().to_string();
    crate::content::parse(&chapter_name, &chapter.content, &name, &text)
        .map_err(|all| all.iter().map(lab::Diagnostic::to_string).collect::<Vec<_>>().join("\n"))
}

/// Speaks mdBook's protocol: `supports RENDERER`, or the book on standard input.
pub fn main(args: &[OsString]) -> ExitCode {
    if args.first().is_some_and(|a| a == "supports") {
        let html = args.get(1).is_some_and(|renderer| renderer == "html");
        return if html { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (context, book) = mdbook_preprocessor::parse_input(io::stdin())?;
    let book = Swarmlab.run(&context, book)?;
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &book)?;
    out.flush()?;
    Ok(())
}
