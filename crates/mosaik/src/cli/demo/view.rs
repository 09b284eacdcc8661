//! The board drawn on a terminal.

use {
    super::{
        super::units,
        board::{Board, Part},
    },
    ratatui::{
        Frame,
        layout::{Constraint, Layout, Rect},
        style::{Color, Modifier, Style, Stylize},
        text::{Line, Span},
        widgets::{Block, BorderType, Cell, Paragraph, Row, Sparkline, Table},
    },
};

/// Columns of a matrix cell and of a node's name before it.
const MATRIX_CELL: u16 = 3;
const MATRIX_NAME: u16 = 9;
/// A lower curve shows nothing.
const CURVE_MIN: u16 = 3;
/// Below this, the table of nodes is cut.
const TABLE_WIDTH: u16 = 66;

/// Draws the whole screen.
pub(crate) fn draw(board: &Board, frame: &mut Frame<'_>) {
    let nodes = board.rows.len() as u16;
    let panel = nodes + 3;
    let matrix_width = MATRIX_NAME + nodes * MATRIX_CELL + 3;
    let area = frame.area();
    // Who knows whom stands beside the nodes, else below them, else there is no room for it.
    let beside = matrix_width + TABLE_WIDTH <= area.width;
    let below = !beside && matrix_width <= area.width && 2 * panel + CURVE_MIN + 3 <= area.height;
    let group = board.group_line();
    let [title, top, bottom, counts, curve, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(panel),
        Constraint::Length(if below { panel } else { 0 }),
        Constraint::Length(u16::from(group.is_some())),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(board, title.width), title);
    if beside {
        let columns = [Constraint::Length(matrix_width), Constraint::Min(0)];
        let [left, right] = Layout::horizontal(columns).areas(top);
        draw_matrix(board, frame, left);
        draw_nodes(board, frame, right);
    } else {
        draw_nodes(board, frame, top);
    }
    if below {
        draw_matrix(board, frame, bottom);
    }
    if let Some(group) = group {
        let label = Span::from(" group  ").bold();
        frame.render_widget(Line::from(vec![label, group.into()]), counts);
    }
    if curve.height >= CURVE_MIN {
        draw_curve(board, frame, curve);
    }
    frame.render_widget(Line::from(" q  stop and check ".dim()), footer);
}

fn heading(board: &Board, width: u16) -> Line<'static> {
    let (known, pairs) = board.acquaintance();
    let state = if known == pairs {
        "all know each other".fg(Color::Green)
    } else {
        format!("{known} of {pairs} acquaintances").fg(Color::Yellow)
    };
    let mut spans = vec![
        Span::from(" mosaik ").bold().reversed(),
        format!(" {} nodes on loopback  ", board.rows.len()).into(),
        state,
    ];
    let time = format!(
        "{:.1} s of {} s ",
        board.elapsed.min(board.length).as_secs_f64(),
        board.length.as_secs()
    );
    let used: usize = spans.iter().map(Span::width).sum::<usize>() + time.chars().count();
    let gap = usize::from(width).saturating_sub(used);
    spans.extend([" ".repeat(gap).into(), time.into()]);
    spans.into()
}

fn block(title: String) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::styled(
            title,
            Style::new().add_modifier(Modifier::BOLD),
        ))
}

fn short(name: &str) -> &str {
    name.get(..2).unwrap_or(name)
}

fn draw_matrix(board: &Board, frame: &mut Frame<'_>, area: Rect) {
    let name_width = usize::from(MATRIX_NAME);
    let mut heads = vec![Span::from(" ".repeat(name_width))];
    heads.extend(
        board
            .rows
            .iter()
            .map(|row| format!("{} ", short(&row.name)).dim()),
    );
    let mut lines = vec![Line::from(heads)];
    for (index, row) in board.rows.iter().enumerate() {
        let mut spans = vec![Span::from(format!("{:<name_width$.7}", row.name))];
        for (other, knows) in row.sample.knows.iter().enumerate() {
            spans.push(match (index == other, knows) {
                (true, _) => " · ".dim(),
                (false, true) => " ● ".fg(Color::Green),
                (false, false) => " ○ ".fg(Color::Yellow),
            });
        }
        lines.push(Line::from(spans));
    }
    frame.render_widget(
        Paragraph::new(lines).block(block(" who knows whom ".into())),
        area,
    );
}

fn draw_nodes(board: &Board, frame: &mut Frame<'_>, area: Rect) {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let heads = ["items/s", "bytes/s", "items", "rtt", "knows"].map(|text| right(text.to_owned()));
    let header = [Cell::from("node"), Cell::from("role")]
        .into_iter()
        .chain(heads);
    let others = board.rows.len().saturating_sub(1);
    let rows = board.rows.iter().enumerate().map(|(index, row)| {
        let role = match (row.sample.part, row.sample.clean) {
            _ if index == 0 => "producer".fg(Color::Cyan),
            (_, false) => "FAULTY".fg(Color::Red).bold(),
            (Part::Killed, _) => "killed".fg(Color::Red),
            (Part::Leader, _) => "leads".fg(Color::Magenta),
            (Part::Member, _) => "counts".fg(Color::Green),
            (Part::None, _) => "in order".fg(Color::Green),
        };
        Row::new(vec![
            Cell::from(format!("{:.9}", row.name)),
            Cell::from(role),
            right(units::scaled(row.items_per_second)),
            right(units::bytes(row.bytes_per_second)),
            right(units::count(row.sample.items)),
            right(row.sample.rtt.map_or_else(|| "-".into(), units::duration)),
            right(format!("{}/{others}", row.known(index))),
        ])
    });
    let widths = [9, 8, 8, 9, 11, 8, 6].map(Constraint::Length);
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .block(block(" nodes ".into()));
    frame.render_widget(table, area);
}

fn draw_curve(board: &Board, frame: &mut Frame<'_>, area: Rect) {
    let (items, bytes) = board.arriving();
    let title = format!(
        " delivered: {} items/s, {}/s ",
        units::scaled(items),
        units::bytes(bytes)
    );
    let width = usize::from(area.width.saturating_sub(2));
    let newest = board.curve.len().saturating_sub(width);
    let curve: Vec<u64> = board.curve.iter().skip(newest).copied().collect();
    let sparkline = Sparkline::default()
        .block(block(title))
        .data(curve)
        .style(Style::new().fg(Color::Cyan));
    frame.render_widget(sparkline, area);
}

#[cfg(test)]
mod tests {
    use {
        super::{super::board::tests::board, *},
        ratatui::{Terminal, backend::TestBackend},
    };

    fn screen(nodes: usize, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal
            .draw(|frame| draw(&board(nodes, 20), frame))
            .expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn a_wide_terminal_shows_who_knows_whom() {
        let screen = screen(5, 110, 24);
        for part in [
            "who knows whom",
            "16 of 20 acquaintances",
            "○",
            "4.00 K items/s",
            "85 µs",
            "producer",
            "3/4",
            "counted 14,250, node2 leads, node1 was killed, 850 ms",
            "killed",
            "leads",
            "counts",
        ] {
            assert!(screen.contains(part), "{part} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_narrow_terminal_keeps_the_numbers() {
        let screen = screen(5, 80, 24);
        for part in [
            "1.00 K",
            "40.0 KB",
            "85 µs",
            "3/4",
            "delivered",
            "who knows whom",
            "10 s",
        ] {
            assert!(screen.contains(part), "{part} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_small_terminal_keeps_the_numbers() {
        let screen = screen(5, 70, 12);
        assert!(
            screen.contains("85 µs") && !screen.contains("who knows whom"),
            "{screen}"
        );
    }

    #[test]
    fn no_size_of_terminal_or_network_panics() {
        for (nodes, width, height) in [
            (1, 1, 1),
            (2, 10, 3),
            (64, 80, 24),
            (64, 300, 100),
            (5, 300, 5),
        ] {
            screen(nodes, width, height);
        }
    }
}
