//! Columns: Go's `text/tabwriter` with padding by spaces, as Docker sets it up.
//!
//! A cell is text ended by a tab; text after the last tab of a line belongs to no column. Adjacent lines that have a
//! cell in the same column share its width.

/// How columns are laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Least width of a column, padding included.
    pub min_width: usize,
    /// Spaces after the longest cell.
    pub padding: usize,
}

/// The layout of Docker's lists.
pub const LIST: Layout = Layout { min_width: 10, padding: 3 };

/// Replaces tabs by spaces such that columns line up.
pub fn align(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len().saturating_sub(1)]).collect();
    let most = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most {
        let mut start = 0;
        while start < lines.len() {
            if widths[start].len() <= column {
                start += 1;
                continue;
            }
            let end = (start..lines.len()).find(|at| widths[*at].len() <= column).unwrap_or(lines.len());
            let longest = lines[start..end].iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            // A column of nothing takes no room, as with Go's DiscardEmptyColumns unset it still takes the minimum.
            let width = (longest + layout.padding).max(layout.min_width);
            for line in &mut widths[start..end] {
                line[column] = width;
            }
            start = end;
        }
    }
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths[at].get(column) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_have_a_least_width_and_padding() {
        assert_eq!(align("ID\tNAME\n0123456789\tx\n", LIST), "ID           NAME\n0123456789   x\n");
        assert_eq!(align("A\tB\tC", LIST), "A         B         C");
    }

    #[test]
    fn a_line_without_the_column_parts_blocks() {
        assert_eq!(align("a\tb\nplain\nlongest-of-all\tb", LIST), "a         b\nplain\nlongest-of-all   b");
    }

    proptest! {
        #[test]
        fn any_text_aligns(text in "[a-z\t\n]{0,60}") {
            prop_assert!(!align(&text, LIST).contains('\t'));
        }
    }
}
