//! Recorded and observed output: when they are the same.
//!
//! A chapter shows real output, ids and all, since that is what a learner will see. Two runs never agree on ids, times
//! and tokens, nor on the width of a column that holds them, so both sides are brought to one form before they are
//! compared ([`normalise`]). What else may vary an author elides: `[..]` within a line, a line `...` for any lines.
//!
//! Docker paints progress (`overall progress: 1 out of 3 tasks`) over and over; without a terminal each state is a line
//! of its own, and how many there are depends on luck. [`settle_progress`] keeps the last picture, as a terminal would.

/// Brings output to the form in which it is recorded: no colours, no carriage returns, no blanks at the end, the last
/// picture of a progress display only.
pub fn tidy(output: &str) -> String {
    let plain = strip_controls(output);
    let mut lines: Vec<&str> = plain.lines().map(str::trim_end).collect();
    drop_registry_notice(&mut lines);
    settle_progress(&lines).join("\n").trim_start_matches('\n').trim_end().to_owned()
}

/// Docker's client says in four lines when no registry knows an image. A lab has no registry and its images are on
/// every node, so the notice says nothing about the chapter, and whether it comes depends on the engine.
fn drop_registry_notice(lines: &mut Vec<&str>) {
    while let Some(at) = lines.iter().position(|l| l.contains("could not be accessed on a registry to record")) {
        let end = lines.iter().skip(at).take(4).position(|l| l.contains("versions of the image.")).unwrap_or(0);
        lines.drain(at..=at + end);
        // an empty line belongs to it; the id, which goes to the other stream, may have come in between
        if let Some(empty) = lines.iter().skip(at).take(2).position(|l| l.is_empty()) {
            lines.remove(at + empty);
        }
    }
}

/// Keeps the last state of each line that Docker repaints, in the order of their first appearance.
fn settle_progress(lines: &[&str]) -> Vec<String> {
    let mut out: Vec<(Option<String>, String)> = Vec::new();
    for line in lines {
        let key = progress_key(line);
        match key.as_ref().and_then(|k| out.iter_mut().rev().find(|(known, _)| known.as_ref() == Some(k))) {
            Some((_, shown)) => *shown = (*line).to_owned(),
            None => out.push((key, (*line).to_owned())),
        }
    }
    // without a terminal Docker may leave the state of a slot empty
    out.retain(|(key, line)| key.as_ref().is_none_or(|k| line.len() != k.len() + 1));
    out.into_iter().map(|(_, l)| l).collect()
}

/// What a line of a progress display is about: `overall progress`, `1/3`, `verify`, a node's id for a global service.
fn progress_key(line: &str) -> Option<String> {
    let (head, _) = line.split_once(':')?;
    let counts = head.split_once('/').is_some_and(|(a, b)| digits(a) && digits(b));
    let node = head.len() == 12 && head.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let global = node && mixed(head);
    (head == "overall progress" || head == "verify" || counts || global).then(|| head.to_owned())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn mixed(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Removes terminal escapes and carriage returns.
fn strip_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next_if_eq(&'[').is_some() {
                    for c in chars.by_ref() {
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                } else {
                    chars.next();
                }
            }
            '\r' => {}
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// One line with ids, times, ages and tokens replaced by their class, and blanks within it squeezed.
pub fn normalise(line: &str) -> String {
    let pieces = pieces(line);
    let joined: String = pieces.iter().map(|p| p.class.unwrap_or(p.text)).collect();
    squeeze(&joined)
}

/// Squeezes runs of blanks after the indentation: a column is as wide as its widest cell, which may be an id or an age.
fn squeeze(line: &str) -> String {
    let line = line.trim_end();
    let body = line.trim_start();
    let indent = line.get(..line.len() - body.len()).unwrap_or_default();
    let words: Vec<&str> = body.split_whitespace().collect();
    format!("{indent}{}", words.join(" "))
}

/// A part of a line: plain text, or a value that differs from run to run.
struct Piece<'a> {
    text: &'a str,
    class: Option<&'static str>,
}

fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut out: Vec<Piece<'_>> = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    let bytes = line.as_bytes();
    while at < bytes.len() {
        let word_before = at > 0 && bytes.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        let hit = if word_before || !line.is_char_boundary(at) { None } else { line.get(at..).and_then(varying) };
        match hit {
            Some((len, class)) => {
                if plain < at {
                    out.push(Piece { text: line.get(plain..at).unwrap_or_default(), class: None });
                }
                out.push(Piece { text: line.get(at..at + len).unwrap_or_default(), class: Some(class) });
                at += len;
                plain = at;
            }
            None => at += 1,
        }
    }
    if plain < line.len() {
        out.push(Piece { text: line.get(plain..).unwrap_or_default(), class: None });
    }
    out
}

/// The varying value that `text` begins with: its length and class.
fn varying(text: &str) -> Option<(usize, &'static str)> {
    token(text).or_else(|| time(text)).or_else(|| age(text)).or_else(|| id(text))
}

fn run(text: &str, test: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| test(*b)).count()
}

fn token(text: &str) -> Option<(usize, &'static str)> {
    for (prefix, class) in [("SWMTKN-1-", "<token>"), ("SWMKEY-1-", "<key>")] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let len = run(rest, |b| b.is_ascii_alphanumeric() || b"-+/=".contains(&b));
            return (len >= 20).then_some((prefix.len() + len, class));
        }
    }
    let rest = text.strip_prefix("sha256:")?;
    (run(rest, |b| b.is_ascii_hexdigit()) == 64).then_some((71, "<digest>"))
}

/// Object ids: 25 letters and digits for a swarm's objects, 64 hex digits for containers and images, 12 for either
/// when cut short. Only words that mix letters and digits count, so that plain words stay as they are.
fn id(text: &str) -> Option<(usize, &'static str)> {
    let len = run(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let ends = text.as_bytes().get(len).is_none_or(|b| !b.is_ascii_alphanumeric());
    let word = text.get(..len)?;
    let class = match len {
        12 => "<short-id>",
        25 => "<id>",
        64 if word.bytes().all(|b| b.is_ascii_hexdigit()) => "<long-id>",
        _ => return None,
    };
    (ends && mixed(word)).then_some((len, class))
}

/// `2026-01-02T03:04:05.678Z`, `2026-01-02 03:04:05 +0000 UTC`
fn time(text: &str) -> Option<(usize, &'static str)> {
    let shape = b"dddd-dd-dd?dd:dd:dd";
    let bytes = text.as_bytes();
    if bytes.len() < shape.len() {
        return None;
    }
    let fits = shape.iter().zip(bytes).all(|(s, b)| match s {
        b'd' => b.is_ascii_digit(),
        b'?' => *b == b'T' || *b == b' ',
        other => other == b,
    });
    if !fits {
        return None;
    }
    let mut len = shape.len();
    let rest = |len: usize| text.get(len..).unwrap_or_default();
    if let Some(fraction) = rest(len).strip_prefix('.') {
        len += 1 + run(fraction, |b| b.is_ascii_digit());
    }
    let zone = rest(len);
    for known in [" +0000 UTC", " +0000 utc", "Z"] {
        if zone.starts_with(known) {
            return Some((len + known.len(), "<time>"));
        }
    }
    let offset = zone.len() >= 6 && zone.starts_with(['+', '-']) && zone.as_bytes().get(3) == Some(&b':');
    Some((len + if offset { 6 } else { 0 }, "<time>"))
}

/// Docker's human durations: `3 seconds`, `About a minute ago`, `Less than a second`.
fn age(text: &str) -> Option<(usize, &'static str)> {
    let fixed = ["Less than a second", "About a minute", "About an hour"].iter().find(|f| {
        // The first letter is small within a sentence: "Running about a minute ago".
        text.get(..f.len()).is_some_and(|t| t.eq_ignore_ascii_case(f))
    });
    let len = match fixed {
        Some(fixed) => fixed.len(),
        None => {
            let number = run(text, |b| b.is_ascii_digit());
            let rest = text.get(number..)?.strip_prefix(' ')?;
            let unit =
                ["second", "minute", "hour", "day", "week", "month", "year"].iter().find(|u| rest.starts_with(**u))?;
            let plural = usize::from(rest.get(unit.len()..).is_some_and(|r| r.starts_with('s')));
            if number == 0 || number > 4 {
                return None;
            }
            number + 1 + unit.len() + plural
        }
    };
    let ago = text.get(len..).is_some_and(|r| r.starts_with(" ago"));
    Some((len + if ago { 4 } else { 0 }, "<age>"))
}

/// Whether one recorded line stands for one observed line.
pub fn line_matches(recorded: &str, observed: &str) -> bool {
    recorded == observed
        || glob(&squeeze(recorded), &squeeze(observed))
        || glob(&normalise(recorded), &normalise(observed))
}

/// `[..]` in `pattern` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A line that stands for any number of lines.
pub const ANY_LINES: &str = "...";

/// Whether tidied `observed` output is what `recorded` says, line by line.
pub fn matches(recorded: &str, observed: &str) -> bool {
    let recorded: Vec<&str> = lines(recorded);
    let observed: Vec<&str> = lines(observed);
    // reached[j]: the recorded lines so far can stand for the first j observed lines
    let mut reached = vec![false; observed.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for line in recorded {
        let mut next = vec![false; observed.len() + 1];
        let mut any = false;
        for at in 0..=observed.len() {
            if line.trim() == ANY_LINES {
                any |= reached[at];
                next[at] = any;
            } else if at > 0 && reached[at - 1] && line_matches(line, observed[at - 1]) {
                next[at] = true;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// As [`matches`], with the lines in any order. Lines without elision choose first.
pub fn matches_unordered(recorded: &str, observed: &str) -> bool {
    let mut open: Vec<&str> = lines(observed);
    let mut recorded = lines(recorded);
    let more = recorded.iter().any(|l| l.trim() == ANY_LINES);
    recorded.retain(|l| l.trim() != ANY_LINES);
    recorded.sort_by_key(|l| l.contains("[..]"));
    for line in recorded {
        match open.iter().position(|o| line_matches(line, o)) {
            Some(at) => drop(open.swap_remove(at)),
            None => return false,
        }
    }
    more || open.is_empty()
}

fn lines(text: &str) -> Vec<&str> {
    let text = text.trim_end();
    if text.is_empty() { Vec::new() } else { text.lines().map(str::trim_end).collect() }
}

/// Which recorded line stands for which observed line: the longest pairing that keeps the order.
pub(crate) fn pair_lines<'r, 'o>(recorded: &'r str, observed: &'o str) -> Vec<(Option<&'r str>, Option<&'o str>)> {
    let (a, b) = (lines(recorded), lines(observed));
    // Long outputs are not worth a quadratic table; they are then shown whole.
    if a.len().saturating_mul(b.len()) > 1_000_000 {
        return a.into_iter().map(|l| (Some(l), None)).chain(b.into_iter().map(|l| (None, Some(l)))).collect();
    }
    let width = b.len() + 1;
    let mut best = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i * width + j] = if line_matches(a[i], b[j]) {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && line_matches(a[i], b[j]) {
            out.push((Some(a[i]), Some(b[j])));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && best[(i + 1) * width + j] >= best[i * width + j + 1]) {
            out.push((Some(a[i]), None));
            i += 1;
        } else {
            out.push((None, Some(b[j])));
            j += 1;
        }
    }
    out
}

/// The difference for a reader: `-` recorded only, `+` observed only, blank for both; `...` lines are left out.
pub fn difference(recorded: &str, observed: &str) -> String {
    let mut out = Vec::new();
    for (recorded, observed) in pair_lines(recorded, observed) {
        match (recorded, observed) {
            (Some(_), Some(line)) => out.push(format!("  {line}")),
            (Some(line), None) if line.trim() == ANY_LINES => out.push("  ...".to_owned()),
            (Some(line), None) => out.push(format!("- {line}")),
            (None, Some(line)) => out.push(format!("+ {line}")),
            (None, None) => {}
        }
    }
    out.join("\n")
}

/// The values of a recording that stand for others in this run: `(recorded, observed)` ids and tokens.
///
/// A chapter shows `docker swarm join --token SWMTKN-1-...` with the token that was recorded a block earlier. A learner
/// copies the token from the own terminal; the runner replaces it by means of these pairs.
pub fn bindings(recorded: &str, observed: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in pair_lines(recorded, observed) {
        let (Some(recorded), Some(observed)) = pair else { continue };
        let (a, b) = (values(recorded), values(observed));
        if a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x.0 == y.0) {
            out.extend(a.into_iter().map(|x| x.1).zip(b.into_iter().map(|y| y.1)).filter(|(x, y)| x != y));
        }
    }
    out.sort();
    out.dedup_by(|a, b| a.0 == b.0);
    out
}

/// The ids and tokens in a text, each with its class. Ages and times are none: nobody quotes them.
pub fn values(text: &str) -> Vec<(&'static str, String)> {
    let lines = text.lines().flat_map(pieces);
    lines.filter_map(|p| p.class.filter(|c| !["<age>", "<time>"].contains(c)).map(|c| (c, p.text.to_owned()))).collect()
}

/// Replaces in `line` every recorded value by the one of this run; also the first 12 characters of an id, as Docker
/// shows it cut short.
pub fn substitute(line: &str, bindings: &[(String, String)]) -> String {
    let mut out = line.to_owned();
    for (recorded, observed) in bindings {
        out = out.replace(recorded, observed);
        if let (Some(short), Some(new)) = (recorded.get(..12), observed.get(..12))
            // only ids are shown cut short; the beginning of a token is that of every token of the same swarm
            && matches!(recorded.len(), 25 | 64)
            && mixed(short)
        {
            out = out.replace(short, new);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
x2mdqjzxy6xyvcbfnbyrvl9rp *   manager1   Ready     Active         Leader           28.2.2
0jhw6vuizm3nqdhsd3ikzbe5l     worker1    Ready     Active                          28.2.2";

    #[test]
    fn the_registrys_notice_is_no_output_wherever_the_id_falls() {
        let notice = "image web:1 could not be accessed on a registry to record\nits digest. Each node will access \
                      web:1 independently,\npossibly leading to different nodes running different\nversions of the image.";
        for seen in [format!("{notice}\n\nx2mdqjzxy6xy"), format!("{notice}\nx2mdqjzxy6xy\n\n")] {
            assert_eq!(tidy(&seen), "x2mdqjzxy6xy");
        }
        let before_progress = format!("{notice}\nx2mdqjzxy6xy\n\nverify: done");
        assert_eq!(tidy(&before_progress), "x2mdqjzxy6xy\nverify: done");
    }

    #[test]
    fn one_tokens_beginning_does_not_change_another_token() {
        let token = |digest: &str, secret: &str| format!("SWMTKN-1-{digest}{}-{secret}", "a1".repeat(23));
        let old = (token("0fj1", "worker"), token("2qh1", "worker"));
        let new = (token("0fj1", "rotated"), token("2qh1", "rotated"));
        let line = format!("join --token {}", old.0);
        assert_eq!(substitute(&line, &[new, old.clone()]), format!("join --token {}", old.1));
    }

    #[test]
    fn other_ids_ages_and_column_widths_are_the_same_output() {
        let other =
            NODES.replace("x2mdqjzxy6xyvcbfnbyrvl9rp", "aaaaaaaaaaaaaaaaaaaaaaaa1").replace("Ready     ", "Ready  ");
        assert!(matches(NODES, &other));
        assert!(matches(
            "web.1.4pf2d77wn1t1mmbk9d7sgfxb5 Running 3 seconds ago",
            "web.1.aaf2d77wn1t1mmbk9d7sgfxb5 Running About a minute ago"
        ));
        assert!(matches("up since 2026-01-02T03:04:05.123Z", "up since 2027-11-12T13:14:15Z"));
        assert!(!matches(NODES, &NODES.replace("worker1", "worker2")));
        assert!(!matches(NODES, &NODES.replace("Ready", "Down")));
    }

    #[test]
    fn words_that_only_look_long_are_compared_as_they_are() {
        assert!(!line_matches("a internationalisation b", "a administrationalists0 b"));
        assert!(!line_matches("productions", "abcdefghijkl"));
        assert_eq!(normalise("1.2.3.4 manager1 web:1"), "1.2.3.4 manager1 web:1");
        assert_eq!(normalise("한국어 3 seconds ago"), "한국어 <age>");
    }

    #[test]
    fn elision_stands_for_text_within_a_line_and_for_whole_lines() {
        assert!(matches("a [..] c", "a b b c"));
        assert!(!matches("a [..] c", "a b"));
        assert!(matches("one\n...\nfour", "one\ntwo\nthree\nfour"));
        assert!(matches("one\n...\nfour", "one\nfour"));
        assert!(!matches("one\n...\nfour", "one\ntwo"));
        assert!(matches("...", ""));
        assert!(matches("", "\n"));
        assert!(!matches("", "something"));
        assert!(matches("[..]x[..]", "axxb"));
    }

    #[test]
    fn unordered_output_may_come_in_any_order_but_not_in_other_lines() {
        assert!(matches_unordered("a\n[..]\nc", "c\nb\na"));
        assert!(!matches_unordered("a\nb", "a\na"));
        assert!(!matches_unordered("a", "a\nb"));
        assert!(matches_unordered("a\n...", "b\na"));
    }

    #[test]
    fn of_a_progress_display_only_the_last_picture_is_kept() {
        let printed = "\u{1b}[1mid\u{1b}[0m\r\noverall progress: 0 out of 2 tasks\n1/2:  \n2/2:  \noverall progress: 2 out of 2 tasks\n\
                       1/2: running   \n2/2: running   \nverify: Waiting 5 seconds to verify that tasks are stable...\n\
                       verify: Service web converged \n";
        let shown = "id\noverall progress: 2 out of 2 tasks\n1/2: running\n2/2: running\nverify: Service web converged";
        assert_eq!(tidy(printed), shown);
    }

    #[test]
    fn slots_whose_state_was_not_printed_are_left_out() {
        let printed = "\nid\noverall progress: 0 out of 1 tasks\n1/1:  \noverall progress: 1 out of 1 tasks\nverify: Service x converged\n";
        assert_eq!(tidy(printed), "id\noverall progress: 1 out of 1 tasks\nverify: Service x converged");
    }

    #[test]
    fn the_notice_about_a_missing_registry_is_no_part_of_the_output() {
        let notice = "id\nimage a:1 could not be accessed on a registry to record\nits digest. Each node will access a:1 \
                      independently,\npossibly leading to different nodes running different\nversions of the image.\n\nok\n";
        assert_eq!(tidy(notice), "id\nok");
    }

    #[test]
    fn a_recorded_token_is_replaced_by_the_one_of_this_run() {
        let old = "    docker swarm join --token SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c 10.77.0.11:2377";
        let new = "    docker swarm join --token SWMTKN-1-zznj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-9vxv8rssmk743ojnwacrr2e7c 10.77.0.11:2377";
        let bindings = bindings(old, new);
        assert_eq!(bindings.len(), 1);
        assert_eq!(substitute(old.trim(), &bindings), new.trim());
        let ids = [("x2mdqjzxy6xyvcbfnbyrvl9rp".to_owned(), "y3mdqjzxy6xyvcbfnbyrvl9rp".to_owned())];
        assert_eq!(substitute("docker node rm x2mdqjzxy6xy", &ids), "docker node rm y3mdqjzxy6xy");
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(difference("a\nb\nc", "a\nx\nc"), "  a\n- b\n+ x\n  c");
    }
}
