//! Facts about figures that a reader would miss: labels, the number of lines and bars, the size of the picture, and the same bytes
//! each time.

use std::collections::BTreeMap;
use std::io::Cursor;

use traces::plot::{
    Axis, BarChart, COLOURS_MAX, Format, Group, HEIGHT, Line, LineChart, Numbers, Scale, Stroke, WIDTH,
};
use traces::waf::{Grid, IndirectionUnit, figure};

fn waf_figure() -> LineChart {
    let units = [16, 4, 64].map(|kib| IndirectionUnit::new(kib << 10).expect("a power of two"));
    figure(&units, Grid::new(4096).expect("a power of two"), 1 << 20)
}

fn bar_chart() -> BarChart {
    let group = |name: &str, values: [f64; 2]| Group { name: name.to_owned(), values: values.to_vec() };
    BarChart {
        title: "Cost of <4K> writes & more".to_owned(),
        y: Axis { label: "programmed".to_owned(), scale: Scale::Log2, numbers: Numbers::Bytes },
        series: vec!["one open unit".to_owned(), "two open units".to_owned()],
        groups: vec![group("streaming", [4096.0, 4096.0]), group("switching", [1_048_576.0, 8192.0])],
    }
}

fn svg(rendered: Vec<u8>) -> String {
    String::from_utf8(rendered).expect("SVG is text")
}

/// Contents of the text elements.
fn texts(svg: &str) -> Vec<String> {
    let elements = svg.split("<text ").skip(1).filter_map(|element| element.split_once('>'));
    elements.filter_map(|(_, rest)| rest.split_once("</text>")).map(|(text, _)| text.trim().to_owned()).collect()
}

/// How many polylines there are of each colour in the width of a data line.
fn strokes(svg: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for element in svg.split("<polyline ").skip(1).filter(|element| element.contains("stroke-width=\"2\"")) {
        let colour = element.split_once("stroke=\"").expect("a stroke").1.split('"').next().expect("its value");
        *counts.entry(colour).or_default() += 1;
    }
    counts
}

/// Width, height and the colours of a picture with how many pixels have them.
fn decode(file: &[u8]) -> (u32, u32, BTreeMap<[u8; 3], usize>) {
    let mut reader = png::Decoder::new(Cursor::new(file)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size that fits")];
    let info = reader.next_frame(&mut pixels).expect("a whole picture");
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgba, png::BitDepth::Eight));
    let mut colours = BTreeMap::new();
    for pixel in pixels.chunks_exact(4) {
        assert_eq!(pixel[3], 255, "nothing shines through");
        *colours.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
    }
    (info.width, info.height, colours)
}

#[test]
fn the_waf_figure_has_its_labels_and_two_lines_for_each_unit() {
    let svg = svg(waf_figure().render(Format::Svg).expect("a figure"));
    let texts = texts(&svg);
    let octaves = ["4KiB", "8KiB", "16KiB", "32KiB", "64KiB", "128KiB", "256KiB", "512KiB", "1MiB"];
    let names =
        ["16KiB", "4KiB", "64KiB"].map(|unit| [format!("IU {unit}, worst offset"), format!("IU {unit}, mean of all")]);
    let axes = ["length of the write", "write amplification (NAND bytes ÷ host bytes)", "1", "16"].map(str::to_owned);
    for label in octaves.map(str::to_owned).iter().chain(names.as_flattened()).chain(&axes) {
        assert_eq!(texts.iter().filter(|text| *text == label).count(), 1, "{label} in {texts:?}");
    }
    assert!(texts[0].contains("indirection unit (IU)"), "{texts:?}");
    // A solid line is one element with all 256 lengths; a dash of a broken one has a few.
    let solid = svg.split("<polyline ").filter(|element| element.matches(',').count() >= 256);
    assert_eq!(solid.count(), 3);
    let strokes = strokes(&svg);
    assert_eq!(strokes.keys().copied().collect::<Vec<_>>(), ["#0072B2", "#009E73", "#D55E00"]);
    assert!(strokes.values().all(|&count| count > 10), "dashes are missing: {strokes:?}");
}

#[test]
fn write_amplification_has_a_logarithmic_axis_always() {
    let scale = |unit: u64, grid: u64| {
        let unit = IndirectionUnit::new(unit << 10).expect("a power of two");
        figure(&[unit], Grid::new(grid).expect("a power of two"), 1 << 20).y.scale
    };
    assert_eq!([scale(4, 4096), scale(64, 4096), scale(64, 512)], [Scale::Log2; 3]);
}

/// As many as have a colour: each unit has one of its own, and no two kinds of marks look alike.
#[test]
fn no_two_units_share_a_colour_and_no_two_marks_look_alike() {
    let units: Vec<_> =
        (0..COLOURS_MAX).map(|power| IndirectionUnit::new(512 << power).expect("a power of two")).collect();
    let chart = figure(&units, Grid::new(65536).expect("a power of two"), 1 << 20);
    assert_eq!(chart.lines.len(), 2 * COLOURS_MAX);
    let drawn = svg(chart.render(Format::Svg).expect("a figure"));
    assert_eq!(strokes(&drawn).len(), COLOURS_MAX, "{:?}", strokes(&drawn));
    let marks = |stroke| {
        let axis = || Axis { label: String::new(), scale: Scale::Linear, numbers: Numbers::Plain };
        let line = Line { name: "marks".to_owned(), colour: 1, stroke, points: vec![(1.0, 1.0), (2.0, 2.0)] };
        svg(LineChart { title: String::new(), x: axis(), y: axis(), lines: vec![line] }
            .render(Format::Svg)
            .expect("drawn"))
    };
    assert!(marks(Stroke::Triangles).matches("<polygon").count() >= 3, "two marks and the sample");
    assert!(marks(Stroke::Rings).matches("<circle").count() >= 3);
    assert!(!marks(Stroke::Crosses).contains("<polygon") && !marks(Stroke::Crosses).contains("<circle"));
}

#[test]
fn a_bar_chart_has_a_bar_for_each_value_and_says_what_it_is() {
    let svg = svg(bar_chart().render(Format::Svg).expect("a figure"));
    let texts = texts(&svg);
    for label in ["streaming", "switching", "one open unit", "two open units", "programmed"] {
        assert_eq!(texts.iter().filter(|text| *text == label).count(), 1, "{label} in {texts:?}");
    }
    assert_eq!(texts[0], "Cost of &lt;4K&gt; writes &amp; more");
    // Two bars and a sample in the legend for each series.
    for colour in ["#0072B2", "#D55E00"] {
        let bars: Vec<&str> = svg.lines().filter(|line| line.starts_with("<rect") && line.contains(colour)).collect();
        assert_eq!(bars.len(), 3, "{bars:?}");
        assert!(bars.iter().all(|bar| !bar.contains("height=\"0\"")), "{bars:?}");
    }
}

#[test]
fn one_series_needs_no_legend() {
    let mut chart = bar_chart();
    chart.series.truncate(1);
    chart.groups.iter_mut().for_each(|group| group.values.truncate(1));
    assert!(!svg(chart.render(Format::Svg).expect("a figure")).contains("one open unit"));
}

#[test]
fn a_png_has_the_size_that_is_promised_and_shows_each_colour() {
    for file in [waf_figure().render(Format::Png), bar_chart().render(Format::Png)] {
        let (width, height, colours) = decode(&file.expect("a figure"));
        assert_eq!((width, height), (WIDTH, HEIGHT));
        let all = WIDTH as usize * HEIGHT as usize;
        assert!(colours[&[255; 3]] > all / 2 && colours[&[255; 3]] < all * 99 / 100);
        for colour in [[0, 114, 178], [213, 94, 0]] {
            assert!(colours.get(&colour).is_some_and(|&count| count > 300), "{colour:?}");
        }
        // Text, which would be missing without a font.
        assert!(colours[&[0; 3]] > 300);
    }
}

#[test]
fn the_same_figure_is_the_same_bytes() {
    for format in [Format::Svg, Format::Png] {
        assert_eq!(waf_figure().render(format).expect("a figure"), waf_figure().render(format).expect("a figure"));
        assert_eq!(bar_chart().render(format).expect("a figure"), bar_chart().render(format).expect("a figure"));
    }
}

#[test]
fn a_single_point_is_a_figure_too() {
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear, numbers: Numbers::Plain };
    let line = Line { name: "one".to_owned(), colour: 9, stroke: Stroke::Dashed, points: vec![(3.0, 0.0)] };
    let chart = LineChart { title: String::new(), x: axis("x"), y: axis("y"), lines: vec![line] };
    assert!(svg(chart.render(Format::Svg).expect("a figure")).ends_with("</svg>\n"));
}

#[test]
#[should_panic(expected = "switching needs a value for each series")]
fn a_group_without_a_value_for_each_series_is_a_mistake() {
    let mut chart = bar_chart();
    chart.groups[1].values.pop();
    let _never = chart.render(Format::Svg);
}
