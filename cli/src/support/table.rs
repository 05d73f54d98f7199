//! Numbers and columns for people.

/// `1.2 MB`; powers of ten.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// `3.4 Gflop`.
pub fn flops(n: i64) -> String {
    scaled(n.max(0) as f64, &["flop", "kflop", "Mflop", "Gflop", "Tflop"])
}

/// `1.23 ms`.
pub fn nanoseconds(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} ns"),
        1_000..1_000_000 => format!("{:.1} us", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", n as f64 / 1e6),
        _ => format!("{:.2} s", n as f64 / 1e9),
    }
}

/// As [`nanoseconds`].
pub fn seconds(s: f64) -> String {
    nanoseconds((s * 1e9) as u64)
}

/// `12.3%`.
pub fn share(part: i64, whole: i64) -> String {
    if whole <= 0 { "-".into() } else { format!("{:.1}%", 100.0 * part as f64 / whole as f64) }
}

/// `1 rule`, `2 rules`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// At most `most` characters, cut in the middle.
pub fn short(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.into();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    let head: String = text.chars().take(head).collect();
    let tail: String = text.chars().skip(n - tail).collect();
    format!("{head}…{tail}")
}

fn scaled(mut x: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while x >= 1000.0 && unit + 1 < units.len() {
        x /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{x} {}", units[0]) } else { format!("{x:.1} {}", units[unit]) }
}

/// Rows of cells, aligned when printed.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this header; a cell that starts with `>` names a right-aligned column.
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|c| c.to_string()).collect());
    }

    /// The same in Markdown.
    pub fn markdown(&self) -> String {
        let Some(header) = self.rows.first() else { return String::new() };
        let marks = header.iter().map(|c| if c.starts_with('>') { "---:" } else { "---" });
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = line(header.iter().map(|cell| heading(cell)).collect());
        let rule = format!("|{}|\n", marks.collect::<Vec<_>>().join("|"));
        let rows = self.rows[1..].iter().map(|row| line(row.clone()));
        [head, rule].into_iter().chain(rows).collect()
    }
}

/// A header's cell as it is printed.
fn heading(cell: &str) -> String {
    cell.strip_prefix('>').unwrap_or(cell).to_string()
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(header) = self.rows.first() else { return Ok(()) };
        let right: Vec<bool> = header.iter().map(|c| c.starts_with('>')).collect();
        let rows: Vec<Vec<String>> =
            std::iter::once(header.iter().map(|cell| heading(cell)).collect())
                .chain(self.rows[1..].iter().cloned())
                .collect();
        let width = |i: usize| {
            rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..right.len()).map(width).collect();
        for row in &rows {
            let mut line = String::from(" ");
            for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                line.push(' ');
                line +=
                    &if *right { format!("{cell:>width$} ") } else { format!("{cell:<width$} ") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut t = Table::new(&["name", ">n"]);
        t.row(["a", "1"]);
        t.row(["long", "20"]);
        assert_eq!(t.to_string(), "  name   n\n  a      1\n  long  20\n");
        assert_eq!(t.markdown(), "| name | n |\n|---|---:|\n| a | 1 |\n| long | 20 |\n");
    }

    #[test]
    fn units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_234_567), "1.2 MB");
        assert_eq!(nanoseconds(1_500), "1.5 us");
        assert_eq!(share(1, 0), "-");
        assert_eq!(short("abcdefgh", 5), "ab…gh");
    }
}
