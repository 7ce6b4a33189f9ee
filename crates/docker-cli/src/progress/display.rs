//! Progress on a terminal, where lines are redrawn in place, or not on one, where each is printed once more.

use super::Message;

/// Least width of a terminal that has room for bars.
const MIN_BAR_WIDTH: u16 = 110;
/// Characters of a bar.
const BAR: u64 = 50;

/// Turns messages into bytes for standard output.
#[derive(Debug, Clone)]
pub struct Display {
    /// Columns of the terminal, if it is one.
    columns: Option<u16>,
    /// Lines drawn so far, by id.
    lines: Vec<String>,
}

impl Display {
    /// For a terminal of so many columns, or for none.
    pub fn new(columns: Option<u16>) -> Self {
        Self { columns, lines: Vec::new() }
    }

    /// Draws a message.
    pub fn draw(&mut self, message: &Message) -> String {
        let Some(columns) = self.columns else {
            // Bars are of no use in a file; Docker leaves these messages out.
            return match message.bar {
                Some(_) => String::new(),
                None => format!("{}: {}\n", message.id, message.text),
            };
        };
        let mut out = String::new();
        let line = self.lines.iter().position(|id| *id == message.id).unwrap_or_else(|| {
            self.lines.push(message.id.clone());
            out.push('\n');
            self.lines.len() - 1
        });
        let up = self.lines.len() - line;
        let bar = message.bar.filter(|_| columns > MIN_BAR_WIDTH).map_or(String::new(), bar);
        out.push_str(&format!("\x1b[{up}A\x1b[2K\r{}: {} {bar}\r\x1b[{up}B", message.id, message.text));
        out
    }

    /// Text that belongs to no line.
    pub fn plain(&mut self, text: &str) -> String {
        self.lines.clear();
        format!("{text}\n")
    }
}

fn bar((current, total): (u64, u64)) -> String {
    let filled = (current.min(total) * BAR / total.max(1)) as usize;
    format!("[{}>{}] ", "=".repeat(filled), " ".repeat(BAR as usize - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_lines_without_bars() {
        let mut display = Display::new(None);
        assert_eq!(
            display.draw(&Message::new("overall progress", "1 out of 2 tasks")),
            "overall progress: 1 out of 2 tasks\n"
        );
        let with_bar = Message { id: "1/2".into(), text: "running".into(), bar: Some((9, 9)) };
        assert_eq!(display.draw(&with_bar), "");
    }

    #[test]
    fn a_terminal_redraws_its_lines() {
        let mut display = Display::new(Some(120));
        let first = display.draw(&Message::new("a", "x"));
        assert_eq!(first, "\n\x1b[1A\x1b[2K\ra: x \r\x1b[1B");
        let bar = display.draw(&Message { id: "b".into(), text: "running".into(), bar: Some((9, 9)) });
        assert!(bar.contains(&format!("running [{}>] ", "=".repeat(50))));
        assert!(display.draw(&Message::new("a", "y")).starts_with("\x1b[2A"));
    }
}
