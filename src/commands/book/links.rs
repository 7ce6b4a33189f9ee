//! Looks for what does not lead anywhere in a built book: links and pictures to files that are not there, anchors that
//! no page has. Addresses on the net are left alone: the book must be right without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Pages read.
    pub pages: usize,
    /// Links and pictures looked at.
    pub links: usize,
    /// `page: link: why`
    pub broken: Vec<String>,
}

struct Page {
    ids: BTreeSet<String>,
    links: Vec<String>,
}

/// Checks every page below `root`.
pub fn check(root: &Path) -> io::Result<Found> {
    let mut pages = BTreeMap::new();
    read_pages(root, root, &mut pages)?;
    let mut found = Found { pages: pages.len(), ..Found::default() };
    for (path, page) in &pages {
        for link in &page.links {
            if outside(link) {
                continue;
            }
            found.links += 1;
            if let Some(why) = broken(root, &pages, path, link) {
                found.broken.push(format!("{}: {link}: {why}", path.display()));
            }
        }
    }
    found.broken.sort();
    found.broken.dedup();
    Ok(found)
}

fn read_pages(root: &Path, folder: &Path, pages: &mut BTreeMap<PathBuf, Page>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_pages(root, &path, pages)?;
        } else if path.extension().is_some_and(|e| e == "html") {
            // toc.html is a fragment for a frame, whose links are those of every page's sidebar
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            pages.insert(name, read_page(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Ids and links of a page. mdBook writes attributes in double quotes.
fn read_page(html: &str) -> Page {
    let mut page = Page { ids: BTreeSet::new(), links: Vec::new() };
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        rest = rest.get(open + 1..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find('>').unwrap_or(rest.len());
        let tag = rest.get(..end).unwrap_or_default();
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        page.ids.extend(attribute(tag, "id"));
        match name.as_str() {
            "a" => {
                page.links.extend(attribute(tag, "href"));
                page.ids.extend(attribute(tag, "name"));
            }
            "link" => page.links.extend(attribute(tag, "href")),
            "img" | "script" | "source" | "object" => page.links.extend(attribute(tag, "src")),
            _ => {}
        }
        rest = rest.get(end..).unwrap_or_default();
        if name == "script" || name == "style" {
            // text in there only looks like tags
            let close = format!("</{name}");
            rest = rest.find(&close).and_then(|at| rest.get(at..)).unwrap_or_default();
        }
    }
    page
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = tag.get(start..)?.split('"').next()?;
    Some(value.replace("&amp;", "&"))
}

fn outside(link: &str) -> bool {
    let scheme = link
        .split_once(':')
        .is_some_and(|(s, _)| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'));
    scheme || link.starts_with("//") || link.is_empty()
}

fn broken(root: &Path, pages: &BTreeMap<PathBuf, Page>, from: &Path, link: &str) -> Option<String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(f, a)| (f, Some(a)));
    let file = decode(file.split('?').next().unwrap_or_default());
    let target = if file.is_empty() {
        from.to_owned()
    } else if let Some(absolute) = file.strip_prefix('/') {
        // only the page for missing addresses has those
        PathBuf::from(absolute)
    } else {
        match normal(&from.parent().unwrap_or(Path::new("")).join(&file)) {
            Some(inside) => inside,
            None => return Some("leads out of the book".to_owned()),
        }
    };
    let target = if root.join(&target).is_dir() { target.join("index.html") } else { target };
    if !root.join(&target).is_file() {
        return Some("no such file".to_owned());
    }
    let anchor = decode(anchor.filter(|a| !a.is_empty())?);
    match pages.get(&target) {
        Some(page) if !page.ids.contains(&anchor) => Some(format!("no `#{anchor}` in {}", target.display())),
        _ => None,
    }
}

/// Resolves `..`; `None` for a path that leaves the book.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !out.pop() => return None,
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    Some(out)
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn missing_files_anchors_and_pictures_are_found_and_good_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "a.html",
            "<h1 id=\"top\">A</h1><a href=\"deep/b.html#x\">b</a><a href=\"#top\">t</a><a href=\"https://a.b\">n</a><!-- <a href=\"z\"> --><script>\"<a href=\\\"q\\\">\"</script>",
        );
        write(
            "deep/b.html",
            "<p id=\"x\"></p><a href=\"../a.html#no\">a</a><img alt=\"\" src=\"p.png\"><a href=\"../../c\">o</a><a href=\"%C3%A9.html\">e</a>",
        );
        write("deep/é.html", "");
        let found = check(folder.path()).unwrap();
        assert_eq!((found.pages, found.links), (3, 6));
        let broken: Vec<&str> = found.broken.iter().map(String::as_str).collect();
        assert_eq!(
            broken,
            [
                "deep/b.html: ../../c: leads out of the book",
                "deep/b.html: ../a.html#no: no `#no` in a.html",
                "deep/b.html: p.png: no such file"
            ]
        );
    }
}
