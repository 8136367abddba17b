//! From values to places on an axis, and from places to labels. Knows nothing of how anything is drawn.

/// An axis of a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What is measured.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// How values are written.
    pub numbers: Numbers,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// A doubling is as long anywhere; values are positive.
    Log2,
    /// A tenfold is as long anywhere; values are positive.
    Log10,
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// 0.5, 20, 3000.
    Plain,
    /// 512, 4KiB, 1MiB: bytes in powers of 1024.
    Bytes,
}

/// What an axis spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// The data, no more: what lies left and right of it was not measured.
    Data,
    /// From zero, or so far below on a logarithmic axis that the lowest bar or line can be seen, to a labelled value above.
    Feet,
}

/// A place on an axis that is labelled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Where: a value after [`Scale::place`].
    pub place: f64,
    /// What stands there.
    pub label: String,
}

/// An axis that has been fitted to values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ruler {
    /// First place.
    pub begin: f64,
    /// Last place.
    pub end: f64,
    /// From first to last.
    pub ticks: Vec<Tick>,
    /// What is measured.
    pub label: String,
    scale: Scale,
}

/// This many labels fit beside each other.
const TICKS_MAX: f64 = 11.0;

impl Scale {
    /// Where a value stands.
    ///
    /// # Panics
    /// If it has no place: a logarithmic axis has none for zero and below.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear => value,
            Self::Log2 => value.log2(),
            Self::Log10 => value.log10(),
        };
        assert!(place.is_finite(), "{value} has no place on a {self:?} axis");
        place
    }

    /// The value that stands at a place.
    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log2 => place.exp2(),
            Self::Log10 => 10f64.powf(place),
        }
    }
}

impl Ruler {
    /// An axis on which all of `values` have a place.
    pub fn fit(axis: &Axis, span: Span, values: impl Iterator<Item = f64>) -> Self {
        let places = values.map(|value| axis.scale.place(value));
        let (lowest, highest) =
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        assert!(lowest <= highest, "an axis needs a value");
        let from_zero = span != Span::Data && axis.scale == Scale::Linear;
        let (lowest, highest) = if from_zero { (lowest.min(0.0), highest.max(0.0)) } else { (lowest, highest) };
        let step = step(axis, highest - lowest);
        let (begin, mut end) = match span {
            Span::Data => (lowest, highest),
            Span::Feet if axis.scale != Scale::Linear => {
                (((lowest / step).ceil() - 1.0) * step, (highest / step).ceil() * step)
            }
            Span::Feet => ((lowest / step).floor() * step, (highest / step).ceil() * step),
        };
        if begin >= end {
            end = begin + step;
        }
        Self { begin, end, ticks: ticks(axis, begin, end, step), label: axis.label.clone(), scale: axis.scale }
    }

    /// A ruler whose places are names rather than values: the n-th stands in the middle between n and n + 1.
    pub fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let middles = (0..).map(|index: u32| f64::from(index) + 0.5);
        let ticks: Vec<Tick> = names.zip(middles).map(|(name, place)| Tick { place, label: name.to_owned() }).collect();
        let end = ticks.last().expect("an axis needs a name").place + 0.5;
        Self { begin: 0.0, end, ticks, label: String::new(), scale: Scale::Linear }
    }

    /// Where a value stands.
    pub fn place(&self, value: f64) -> f64 {
        self.scale.place(value)
    }

    /// What stands at the place of a tick.
    pub fn label_at(&self, place: f64) -> String {
        // The place comes back from the drawing library as it was given, to the bit.
        let tick = self.ticks.iter().find(|tick| tick.place.to_bits() == place.to_bits());
        tick.map(|tick| tick.label.clone()).unwrap_or_default()
    }
}

/// How far labels stand apart for `span` to have a readable number of them.
fn step(axis: &Axis, span: f64) -> f64 {
    let least = if span > 0.0 { span / (TICKS_MAX - 1.0) } else { 1.0 };
    match (axis.scale, axis.numbers) {
        (Scale::Log2 | Scale::Log10, _) => least.ceil(),
        (Scale::Linear, Numbers::Bytes) => least.log2().ceil().exp2(),
        (Scale::Linear, Numbers::Plain) => {
            let power = 10f64.powf(least.log10().floor());
            let round = [1.0, 2.0, 5.0].map(|factor| factor * power);
            round.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
        }
    }
}

fn ticks(axis: &Axis, begin: f64, end: f64, step: f64) -> Vec<Tick> {
    // A sum of steps may pass the end by what floating point loses, and the last label would be missing.
    let slack = step * 1e-9;
    let first = ((begin - slack) / step).ceil();
    let places = (0..).map(|index: u32| (first + f64::from(index)) * step).take_while(|place| *place <= end + slack);
    let label = |place: f64| axis.numbers.text(axis.scale.value(place));
    places.map(|place| Tick { place, label: label(place) }).collect()
}

impl Numbers {
    /// A value in as few characters as a label should have.
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::Plain => trimmed(value),
            Self::Bytes => {
                let unit = UNITS.into_iter().map(|(shift, unit)| (f64::from(shift).exp2(), unit));
                let fitting = unit.into_iter().find(|(size, _)| value.abs() >= *size);
                fitting.map_or_else(|| trimmed(value), |(size, unit)| trimmed(value / size) + unit)
            }
        }
    }
}

/// Three significant decimals at most, and none that say nothing.
fn trimmed(value: f64) -> String {
    let magnitude = value.abs();
    let text = match magnitude {
        _ if magnitude >= 100.0 => format!("{value:.0}"),
        _ if magnitude >= 0.01 || magnitude == 0.0 => format!("{value:.2}"),
        _ => return format!("{value:.1e}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Units of bytes, largest first, by the power of two.
const UNITS: [(u32, &str); 5] = [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];

/// A size as the labels of a figure have it: 512, 4KiB, 1MiB. Exact, whatever it takes: 3000 stays 3000.
pub fn bytes_text(bytes: u64) -> String {
    let whole = UNITS.into_iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, numbers: Numbers) -> Axis {
        Axis { label: "length".to_owned(), scale, numbers }
    }

    fn labels(axis: &Axis, span: Span, values: &[f64]) -> Vec<String> {
        Ruler::fit(axis, span, values.iter().copied()).ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn a_log2_axis_of_bytes_is_labelled_at_powers_of_two() {
        let axis = axis(Scale::Log2, Numbers::Bytes);
        let octaves = ["4KiB", "8KiB", "16KiB", "32KiB", "64KiB", "128KiB", "256KiB", "512KiB", "1MiB"];
        assert_eq!(labels(&axis, Span::Data, &[4096.0, 1_048_576.0]), octaves);
        assert_eq!(
            labels(&axis, Span::Data, &[512.0, 2f64.powi(30)]),
            ["512", "4KiB", "32KiB", "256KiB", "2MiB", "16MiB", "128MiB", "1GiB"]
        );
        assert_eq!(labels(&axis, Span::Data, &[3000.0, 9000.0]), ["4KiB", "8KiB"]);
    }

    #[test]
    fn a_base_reaches_from_zero_or_a_power_to_a_label_above() {
        let linear = axis(Scale::Linear, Numbers::Plain);
        assert_eq!(labels(&linear, Span::Feet, &[1.0, 4.0]), ["0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4"]);
        assert_eq!(labels(&linear, Span::Feet, &[16.0]), ["0", "2", "4", "6", "8", "10", "12", "14", "16"]);
        assert_eq!(labels(&linear, Span::Feet, &[-3.0, -1.0]).first().map(String::as_str), Some("-3"));
        assert_eq!(labels(&linear, Span::Feet, &[0.0]), ["0", "1"]);
        assert_eq!(labels(&axis(Scale::Log2, Numbers::Plain), Span::Feet, &[1.0, 100.0]).last().unwrap(), "128");
        let decades = labels(&axis(Scale::Log10, Numbers::Plain), Span::Feet, &[0.5, 2000.0]);
        assert_eq!(decades, ["0.1", "1", "10", "100", "1000", "10000"]);
        let bytes = labels(&axis(Scale::Linear, Numbers::Bytes), Span::Feet, &[3.0 * 2f64.powi(20)]);
        assert_eq!((bytes[1].as_str(), bytes.last().unwrap().as_str()), ("512KiB", "3MiB"));
    }

    #[test]
    fn the_lowest_bar_has_a_height() {
        let log = Ruler::fit(&axis(Scale::Log2, Numbers::Bytes), Span::Feet, [4096.0, 8192.0].into_iter());
        assert!(log.begin < 12.0 && log.end >= 13.0, "{log:?}");
        let linear = Ruler::fit(&axis(Scale::Linear, Numbers::Plain), Span::Feet, [4.0, 5.0].into_iter());
        assert_eq!((linear.begin, linear.end), (0.0, 5.0));
    }

    #[test]
    fn the_first_and_last_tick_of_a_base_are_its_ends() {
        for highest in [0.3, 0.7, 1.1, 17.0, 99.0, 12_345.0] {
            let ruler = Ruler::fit(&axis(Scale::Linear, Numbers::Plain), Span::Feet, [highest].into_iter());
            let last = ruler.ticks.last().expect("ticks").place;
            assert!((last - ruler.end).abs() < 1e-6 && ruler.begin == 0.0 && ruler.end >= highest, "{ruler:?}");
        }
    }

    #[test]
    #[should_panic(expected = "0 has no place on a Log2 axis")]
    fn zero_has_no_logarithm() {
        Ruler::fit(&axis(Scale::Log2, Numbers::Plain), Span::Data, [0.0].into_iter());
    }

    #[test]
    fn sizes_are_written_exactly() {
        let written = [0, 512, 3000, 4096, 6144, 1 << 20, 3 << 40].map(bytes_text);
        assert_eq!(written, ["0", "512", "3000", "4KiB", "6KiB", "1MiB", "3TiB"]);
    }
}
