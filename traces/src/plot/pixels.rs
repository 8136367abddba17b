//! The pixels of a PNG. Everything is drawn three times as large and averaged, because the drawing library knows only whole pixels: a
//! thin line would change its width with its slope. Text is set here for the same reason, glyph by glyph, where an SVG has it too.

use ab_glyph::{Font, FontRef, OutlinedGlyph, PxScale, ScaleFont as _, point};
use plotters::prelude::{BitMapBackend, DrawingBackend};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind};

/// Width of a figure in pixels.
pub const WIDTH: u32 = 1000;
/// Height of a figure in pixels.
pub const HEIGHT: u32 = 600;
/// Red, green and blue.
pub(super) const BYTES_PER_PIXEL: usize = 3;

/// How much larger it is drawn; odd, so that a pixel has a middle.
const SCALE: u16 = 3;
/// What the library calls the size of a font is so many times the font's em: as its SVG has it.
const SIZE_PER_EM: f32 = 1.24;
/// Where an SVG puts the base line of text whose top, or whose middle, is named; in ems, with the font's x-height.
const BASE_FROM_TOP: f32 = 0.76;
const HALF_X_HEIGHT: f32 = 0.27;

type Outcome<E> = Result<(), DrawingErrorKind<E>>;

/// Draws into an enlarged picture.
pub(super) struct Enlarged<'a> {
    picture: BitMapBackend<'a>,
    font: &'a FontRef<'static>,
}

/// How many bytes the enlarged picture has.
pub(super) const ENLARGED_BYTES: usize =
    WIDTH as usize * HEIGHT as usize * BYTES_PER_PIXEL * SCALE as usize * SCALE as usize;

impl<'a> Enlarged<'a> {
    /// A picture in `pixels`, of which there are [`ENLARGED_BYTES`].
    pub fn new(pixels: &'a mut [u8], font: &'a FontRef<'static>) -> Self {
        let size = (WIDTH * u32::from(SCALE), HEIGHT * u32::from(SCALE));
        Self { picture: BitMapBackend::with_buffer(pixels, size), font }
    }

    /// The glyphs of a line of text that begins at the origin of the base line, and how long it is.
    fn set(&self, text: &str, em: f32) -> (Vec<OutlinedGlyph>, f32) {
        let units_per_em = self.font.units_per_em().expect("the font that comes with the program has an em");
        let font = self.font.as_scaled(PxScale::from(em * self.font.height_unscaled() / units_per_em));
        let (mut glyphs, mut at, mut last) = (Vec::new(), 0.0, None);
        for id in text.chars().map(|letter| font.glyph_id(letter)) {
            at += last.map_or(0.0, |last| font.kern(last, id));
            glyphs.extend(font.outline_glyph(id.with_scale_and_position(font.scale(), point(at, 0.0))));
            at += font.h_advance(id);
            last = Some(id);
        }
        (glyphs, at)
    }
}

/// The middle of a pixel, enlarged.
fn enlarged((x, y): BackendCoord) -> BackendCoord {
    let scale = i32::from(SCALE);
    (x * scale + scale / 2, y * scale + scale / 2)
}

/// A style whose lines are as much wider as everything else.
struct Wider(BackendColor, u32);

impl Wider {
    fn of(style: &impl BackendStyle) -> Self {
        Self(style.color(), style.stroke_width() * u32::from(SCALE))
    }
}

impl BackendStyle for Wider {
    fn color(&self) -> BackendColor {
        self.0
    }

    fn stroke_width(&self) -> u32 {
        self.1
    }
}

impl DrawingBackend for Enlarged<'_> {
    type ErrorType = <BitMapBackend<'static> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        (WIDTH, HEIGHT)
    }

    fn ensure_prepared(&mut self) -> Outcome<Self::ErrorType> {
        self.picture.ensure_prepared()
    }

    fn present(&mut self) -> Outcome<Self::ErrorType> {
        self.picture.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Outcome<Self::ErrorType> {
        self.draw_rect(at, at, &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S) -> Outcome<Self::ErrorType> {
        self.draw_path([a, b], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Outcome<Self::ErrorType> {
        let (a, b, half) = (enlarged(upper_left), enlarged(bottom_right), i32::from(SCALE / 2));
        self.picture.draw_rect((a.0 - half, a.1 - half), (b.0 + half, b.1 + half), &Wider::of(style), fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Outcome<Self::ErrorType> {
        self.picture.draw_path(path.into_iter().map(enlarged), &Wider::of(style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Outcome<Self::ErrorType> {
        self.picture.draw_circle(enlarged(center), radius * u32::from(SCALE), &Wider::of(style), fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Outcome<Self::ErrorType> {
        self.picture.fill_polygon(corners.into_iter().map(enlarged), style)
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a label; no label is two thousand million wide")]
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Outcome<Self::ErrorType> {
        let em = style.size() as f32 / SIZE_PER_EM * f32::from(SCALE);
        let (glyphs, width) = self.set(text, em);
        let right = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let down = match style.anchor().v_pos {
            VPos::Top => BASE_FROM_TOP * em,
            VPos::Center => HALF_X_HEIGHT * em,
            VPos::Bottom => -HALF_X_HEIGHT * em,
        };
        let (origin, color) = (enlarged(at), style.color());
        for glyph in glyphs {
            let corner = glyph.px_bounds().min + point(right.round(), down.round());
            let mut outcome = Ok(());
            glyph.draw(|x, y, coverage| {
                let turned = style.transform().transform(corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                let color = BackendColor { alpha: color.alpha * f64::from(coverage.clamp(0.0, 1.0)), ..color };
                let drawn = self.picture.draw_pixel((origin.0 + turned.0, origin.1 + turned.1), color);
                outcome = std::mem::replace(&mut outcome, Ok(())).and(drawn);
            });
            outcome?;
        }
        Ok(())
    }
}

/// The picture in its true size: each pixel the mean of those it was drawn with.
pub(super) fn reduced(pixels: &[u8]) -> Vec<u8> {
    let (scale, row) = (usize::from(SCALE), WIDTH as usize * usize::from(SCALE) * BYTES_PER_PIXEL);
    let mut picture = Vec::with_capacity(pixels.len() / (scale * scale));
    let samples = SCALE * SCALE;
    for rows in pixels.chunks_exact(row * scale) {
        for left in (0..row).step_by(BYTES_PER_PIXEL * scale) {
            for channel in left..left + BYTES_PER_PIXEL {
                let places = (0..scale * scale).map(|n| channel + n / scale * row + n % scale * BYTES_PER_PIXEL);
                let sum: u16 = places.map(|place| u16::from(rows[place])).sum();
                picture.push(u8::try_from((sum + samples / 2) / samples).expect("a mean of bytes is one"));
            }
        }
    }
    picture
}
